"""The commands of `tfprune dpp`."""

from tfprune.methods.dpp.compare_config import CompareConfig
from tfprune.methods.dpp.evaluate_config import EvaluateConfig
from tfprune.methods.dpp.image_config import ImageConfig
from tfprune.methods.dpp.prune_config import PruneConfig
from tfprune.methods.dpp.student_config import StudentConfig
from tfprune.methods.dpp.teacher_config import TeacherConfig

DPP_COMMANDS: dict[str, type] = {
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "prune": PruneConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "image": ImageConfig,
}
"""Settings classes by the command's name; each has a module of that name with a function `run`."""
