"""What `tfprune dpp prune` does."""

import numpy as np

from tfprune.dpp import generalization_error
from tfprune.recipes.dpp.config import PruneStudentConfig
from tfprune.recipes.dpp.mask_choices import draw_masks
from tfprune.recipes.dpp.pruned_students import PrunedStudents, prune_student
from tfprune.recipes.dpp.teacher_task import TeacherTask
from tfprune.recipes.dpp.trained_student import TrainedStudent


def run(config: PruneStudentConfig) -> PrunedStudents:
    """Draws masks for a student and writes them, with the pruned weights, to a file; returns them."""
    task, trained = TeacherTask.load(config.teacher), TrainedStudent.load(config.student)
    trained.check_teacher(task)
    student = trained.network.normalized()
    quirks = config.original_quirks
    masks = draw_masks(
        config.choice,
        student,
        trained.moments,
        config.k,
        config.num_masks,
        seed=config.seed,
        original_quirks=quirks,
        sampler=config.sampler,
    )
    nodes = config.choice.endswith("node")
    networks = [
        prune_student(student, mask, trained.moments, nodes=nodes, reweight=config.reweight, quirks=quirks)
        for mask in masks
    ]
    names = ("choice", "k", "reweight", "seed", "sampler", "original_quirks")
    settings = {name: getattr(config, name) for name in names} | {"teacher": task.digest}
    result = PrunedStudents(student, masks, networks, settings)
    result.save(config.out)
    errors = [generalization_error(each, task.network) for each in networks]
    print(
        f"{config.out}: {len(masks)} mask{'s' * (len(masks) > 1)}, {config.choice} k={config.k}"
        f"{' reweighted' if config.reweight else ''}; generalisation error {np.mean(errors):.5f}, "
        f"unpruned {generalization_error(student, task.network):.5f}"
    )
    return result
