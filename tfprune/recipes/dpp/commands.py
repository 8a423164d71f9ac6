"""The commands of `tfprune dpp`."""

from tfprune.recipes.dpp.compare_config import CompareConfig
from tfprune.recipes.dpp.evaluate_config import EvaluateConfig
from tfprune.recipes.dpp.image_config import ImageConfig
from tfprune.recipes.dpp.prune_config import PruneConfig
from tfprune.recipes.dpp.student_config import StudentConfig
from tfprune.recipes.dpp.teacher_config import TeacherConfig

DPP_COMMANDS: dict[str, type] = {
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "prune": PruneConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "image": ImageConfig,
}
"""Settings classes by the command's name; each has a module of that name with a function `run`."""
