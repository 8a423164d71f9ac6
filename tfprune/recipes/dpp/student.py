"""What `tfprune dpp student` does."""

from tfprune.dpp import Alignment, OrderParameters, generalization_error
from tfprune.recipes.dpp.config import StudentConfig
from tfprune.recipes.dpp.student_training import initial_student, train_student
from tfprune.recipes.dpp.teacher_task import TeacherTask
from tfprune.recipes.dpp.trained_student import TrainedStudent


def run(config: StudentConfig) -> TrainedStudent:
    """Trains a student, writes it to a file, and says what it has learned; returns it."""
    task = TeacherTask.load(config.teacher)
    nonlinearity = config.nonlinearity or task.network.nonlinearity
    if nonlinearity != task.network.nonlinearity:
        print(f"note: the student computes {nonlinearity}, its teacher {task.network.nonlinearity}")
    initial = initial_student(task, config.student_h_size, nonlinearity, config.seed)
    student = train_student(task, initial, lr=config.lr, epochs=config.epochs, seed=config.seed, out=config.out)
    scaled = student.network.normalized()
    error = generalization_error(student.network, task.network)
    print(
        f"{config.out}: generalisation error {error:.5f}, with rows of equal length, which is what is pruned, "
        f"{generalization_error(scaled, task.network):.5f} (half the mean squared error, without noise)"
    )
    if warning := Alignment.of(OrderParameters.of(scaled, task.network).r).warning():
        print(f"warning: {warning}")
    return student
