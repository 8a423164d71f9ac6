"""What `tfprune dpp teacher` does."""

from tfprune.recipes.dpp.config import TeacherConfig
from tfprune.recipes.dpp.teacher_task import TeacherTask


def run(config: TeacherConfig) -> TeacherTask:
    """Draws a teacher and writes it to a file; returns it."""
    task = TeacherTask.draw(config)
    task.save(config.out)
    print(
        f"{config.out}: a teacher of {task.network.hidden} hidden nodes ({task.network.nonlinearity}), "
        f"{task.network.inputs} inputs, {task.num_data:,} training examples"
    )
    return task
