"""What `soak.py` runs besides trainings: commands that read a file and write others, and all of `tfprune dpp`."""

from soak_cases import IMAGES, SUBNET, TRAINED, Case, wrote

_MODEL = "{made}/trained/trained.keras"
_TEACHER = "-m tfprune dpp teacher --num_data 20000 --input_dim 50 --overwrite --out "
_STUDENT = "-m tfprune dpp student --teacher {made}/teacher.npz --overwrite --out "
_MASKS = (
    "-m tfprune dpp prune --student {made}/student.npz --teacher {made}/teacher.npz --k 3 --num_masks 5 --overwrite "
    "--out "
)
_MADE_TEACHER, _MADE_STUDENT, _MADE_MASKS = (
    f"{command}{{made}}/{name}.npz"
    for command, name in ((_TEACHER, "teacher"), (_STUDENT, "student"), (_MASKS, "masks"))
)


def _command(name: str, settings: str, *before: str) -> Case:
    """A command that can be started again after a kill at any moment, which leaves whole files or none."""
    return Case(name, (wrote("writing", "*"),), settings, before=before, whole=True)


def _on_model(name: str, settings: str) -> Case:
    """Such a command that reads a trained model."""
    return _command(name, settings.replace("MODEL", _MODEL) + " --overwrite", TRAINED)


COMMANDS = (
    _on_model(
        "prune_channels",
        "-m tfprune prune MODEL {run}/small.keras --plan {run}/plan.json --flops 0.5 --data digits --recalibrate "
        "--reweight",
    ),
    _on_model(
        "prune_in_steps", "-m tfprune prune MODEL {run}/small.keras --plan {run}/plan.json --params 0.5 --steps 3"
    ),
    _on_model(
        "prune_weights", "-m tfprune prune MODEL {run}/masks.npz --density 0.3 --criterion synflow --iterations 5"
    ),
    _on_model(
        "prune_weights_on_data", "-m tfprune prune MODEL {run}/masks.npz --density 0.3 --criterion snip --data digits"
    ),
    _on_model("export_keras", "-m tfprune export MODEL {run}/model.keras"),
    _on_model("export_saved_model", "-m tfprune export MODEL {run}/model"),
    _on_model("export_tflite", "-m tfprune export MODEL {run}/model.tflite"),
    _on_model("export_int8", "-m tfprune export MODEL {run}/model.tflite --int8 --data digits --examples 32"),
    _command("export_packed", "-m tfprune export {made}/subnet/trained.keras {run}/model.mpt --overwrite", SUBNET),
    _on_model(
        "landscape",
        "-m tfprune landscape MODEL --data digits --examples 64 --batch_size 32 --directions 2 --points 5 --out {run}",
    ),
    _command("test", "test.py {made}/trained --evaluate --json {run}/test.json", TRAINED),
    _command(
        "prune_on_disk",
        f"train_imagenet.py prune {IMAGES} --out {{run}}/masks.npz --arch Conv2-BN --image_size 16 --density 0.3 "
        "--prune_iters 10 --overwrite",
    ),
    _command("teacher", _TEACHER + "{run}/teacher.npz"),
    _command("masks", _MASKS + "{run}/masks.npz --kernels {run}/kernels.npz", _MADE_TEACHER, _MADE_STUDENT),
    _command(
        "masks_evaluated",
        "-m tfprune dpp evaluate --masks {made}/masks.npz --teacher {made}/teacher.npz --out {run}/numbers.npz "
        "--figure {run}/overlaps.png --examples 2000 --overwrite",
        _MADE_TEACHER,
        _MADE_STUDENT,
        _MADE_MASKS,
    ),
    Case(
        "student",  # its state is kept every 20 seconds
        (wrote("kept", "student.progress.npz"),),
        "-m tfprune dpp student --teacher {made}/long_teacher.npz --out {run}/student.npz --overwrite",
        before=("-m tfprune dpp teacher --out {made}/long_teacher.npz --num_data 500000 --overwrite",),
        locked=True,
    ),
    Case(
        "compare",
        (wrote("pruning", "student_0.npz"), wrote("student", "results.csv"), wrote("last_pruning", "student_1.npz")),
        "-m tfprune dpp compare --out {run} --repeats 2 --num_masks 5 --examples 2000 --input_dim 100 --num_data 40000 "
        "--node_k 2 4",
        locked=True,
    ),
    Case(
        "image",
        (wrote("last_classifier", "results.csv"),),
        "-m tfprune dpp image --out {run} --repeats 2 --num_masks 2 --examples 300 --widths 20 20 --density 0.3 0.6 "
        "--epochs 5 --pool 2 --overwrite",
        locked=True,
    ),
)
