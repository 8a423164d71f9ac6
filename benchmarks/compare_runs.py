"""The runs that `compare_checkouts.py` compares, and the models and images that they read.

`RUNS` names small runs of every method and command. Each is a tuple of command lines, executed one after the other;
{run} stands for the folder of the run and {inputs} for the folder of the inputs. `make_inputs` makes the inputs that
the commands name: a trained ResNet, a model with many kinds of layers, a model of dense layers, examples and images.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

_EKG = (
    "train_cifar.py --dataset digits --arch ResNet-20 --train_path {run}/run --baseline_path {run}/baselines "
    "--batch_size 64 --val_batch_size 128 --search_images 8 --search_batch_size 80 --pretrain_images 40 --do_log 5 "
)
_PEEKABOO = (
    "train_cifar.py --method peekaboo --dataset digits --train_path {run}/run --batch_size 64 --do_log 5 "
    "--epochs 3 --milestones 2 "
)
_MULTIPRIZE = (
    "train_cifar.py --method multiprize --dataset digits --batch_size 64 --do_log 5 --epochs 3 --train_path {run}/run "
)
_TICKET = (
    "train_cifar.py --method ticket --dataset digits --train_path {run}/run --batch_size 64 --do_log 5 --epochs 2 "
    "--milestones 1 "
)
_IMAGENET = (
    "train_imagenet.py --data_path {inputs}/images --train_path {run}/run --image_size 32 --resize_size 36 "
    "--batch_size 8 --val_batch_size 8 --do_log 1 "
)
_RESNET = (
    "train_cifar.py --method dense --dataset digits --arch ResNet-20 --epochs 3 --milestones 2 --batch_size 64 "
    "--no_export --train_path {inputs}/resnet"
)
_PRUNE = "-m tfprune prune --model {inputs}/resnet/trained.keras "
_PRUNE_MIXED = "-m tfprune prune --model {inputs}/mixed.keras "
_PRUNE_DENSE = "-m tfprune prune --model {inputs}/dense.keras "
_TEST = "test.py --dataset digits --no_latency --json {run}/test.json "
_TEST_IMAGES = (
    "test.py --dataset imagenet --data_path {inputs}/images --resize_size 36 --no_latency --json {run}/test.json "
)

RUNS: dict[str, tuple[str, ...]] = {
    "ekg": (
        _EKG + "--baseline_epoch 4 --baseline_learning_rate 0.05 --train_epoch 2 --search_target_rate 0.8 "
        "--num_teacher 3 --knowledge_shard 512",
        _TEST + "--arch ResNet-20 --trained_param {run}/run/trained.keras",
    ),
    "ekg_no_knowledge": (
        _EKG + "--no_Knowledge --trained_param {inputs}/resnet/trained.keras --train_epoch 2 "
        "--search_target_rate 0.8 --original_quirks --batch_statistics --no_export",
    ),
    "ekg_mixed_precision": (
        _EKG + "--trained_param {inputs}/resnet/trained.keras --train_epoch 1 --search_target_rate 0.9 --accum 2 "
        "--num_teacher 2 --precision mixed_bfloat16 --search_precision mixed_bfloat16 --knowledge_dtype float16",
    ),
    "ekg_no_search": (
        _EKG + "--no_searching --trained_param {inputs}/resnet/trained.keras --train_epoch 1 --no_export",
    ),
    "peekaboo_synflow": (
        _PEEKABOO + "--arch ResNet-20 --prune_iters 20 --psg --psg_sparsify --ar_decay_freq 1",
        _TEST + "--arch ResNet-20 --trained_param {run}/run/trained.keras",
    ),
    "peekaboo_snip_sgd": (
        _PEEKABOO + "--arch Conv2-BN --pruner SNIP --prune_iters 2 --prune_balanced --optimizer SGD "
        "--prune_classifier --density 0.1",
    ),
    "peekaboo_grasp": (
        _PEEKABOO + "--arch ResNet-20 --pruner GraSP --prune_iters 1 --prune_batch_size 30 --optimizer SGD --no_export",
    ),
    "peekaboo_grasp_variant": (
        _PEEKABOO + "--arch Conv2-BN --pruner GraSP --prune_iters 1 --grasp_variant peekaboo --epochs 1 --no_export",
    ),
    "peekaboo_during_training": (
        _PEEKABOO + "--arch Conv2-BN --pruner Mag --prune_epoch 2 --prune_shots 2 --prune_iters 1 --no_export "
        "--prune_schedule linear",
    ),
    "peekaboo_fisher_local": (
        _PEEKABOO + "--arch Conv2 --pruner fisher --prune_iters 2 --prune_scope local --original_ties --no_export "
        "--init_method xavier_normal --psg --no_psg_quantize",
    ),
    "peekaboo_masks": (
        _PRUNE + "--criterion synflow --density 0.2 --iterations 5 --out {run}/masks.npz",
        _PEEKABOO + "--arch ResNet-20 --masks {run}/masks.npz --trained_param {inputs}/resnet/trained.keras "
        "--psg --psg_absolute_threshold 0.001 --precision mixed_bfloat16 --accum 2 --epochs 1 --no_export",
    ),
    "multiprize_layer": (
        _MULTIPRIZE + "--arch Conv2 --density 0.3 --save_every 1",
        _TEST + "--trained_param {run}/run/best.keras",
        "-m tfprune export {run}/run/best.keras {run}/ticket.mpt",
        "-m tfprune export {run}/run/best.keras {run}/plain.keras",
        _MULTIPRIZE + "--arch Conv2 --density 0.3 --pretrained {run}/run/trained.keras --evaluate",
    ),
    "multiprize_global": (
        _MULTIPRIZE + "--arch Conv2-BN --density 0.3 --scope global --density_ramp_epochs 2 --learn_batchnorm "
        "--augmix --jsd --histograms --weight_decay 0.001 --no_bn_decay --no_export",
    ),
    "multiprize_binary_activations": (
        _MULTIPRIZE + "--arch ResNet-20 --density 0.4 --binary_activations --optimizer adam --scale_fan density "
        "--grad_clip --lr_policy multistep --lr_adjust 1 --init signed_constant --no_export",
    ),
    "multiprize_sampled": (
        _MULTIPRIZE + "--arch Conv2 --density 0.5 --selection sampled --first_layer_dense --last_layer_dense "
        "--gaussian_noise --label_smoothing 0.1 --warmup_epochs 1 --nesterov --original_quirks --no_export",
    ),
    "multiprize_tuned": (
        _MULTIPRIZE + "--arch Conv2-BN --density 0.5 --epochs 1 --all_augmix --augmix --no_export",
        _MULTIPRIZE.replace("/run ", "/tuned ") + "--arch Conv2-BN --density 0.5 --epochs 1 --learn_batchnorm "
        "--tune_batchnorm --pretrained {run}/run/trained.keras --no_export",
    ),
    "multiprize_dense": (
        "train_cifar.py --method multiprize --dataset digits --batch_size 64 --epochs 1 --arch Conv2 --dense "
        "--log_dir {run}/runs --experiment compared --name first --no_export",
        "train_cifar.py --method multiprize --dataset digits --batch_size 64 --epochs 1 --arch Conv2 --dense "
        "--log_dir {run}/runs --experiment compared --name first --no_export",
    ),
    "dense": (
        "train_cifar.py --method dense --dataset digits --arch ResNet-20 --train_path {run}/run --batch_size 64 "
        "--epochs 2 --milestones 1 --fraction 0.5 --shuffle_pixels --fixed_permutation",
        _TEST + "--arch ResNet-20 --batch_statistics --trained_param {run}/run",
    ),
    "ticket_smart_ratio": (
        _TICKET + "--arch ResNet-20 --density 0.1",
        _TEST + "--arch ResNet-20 --trained_param {run}/run/trained.keras",
    ),
    "ticket_hybrid": (
        _TICKET + "--arch ResNet-20 --ticket hybrid --density 0.2 --init {inputs}/resnet/trained.keras "
        "--rule cubic --original_quirks --no_export",
    ),
    "ticket_lottery": (
        _TICKET + "--arch ResNet-20 --ticket lottery --density 0.2 --init {inputs}/resnet/trained.keras --no_export",
    ),
    "ticket_iterative": (
        _TICKET + "--arch Conv2 --ticket iterative --density 0.3 --rounds 2 --rewind_epoch 1 --no_export",
    ),
    "ticket_snip_corrupted": (
        _TICKET + "--arch Conv2-BN --ticket snip --density 0.1 --random_labels --shuffle_pixels --corrupt both "
        "--no_export",
    ),
    "ticket_grasp_half_data": (
        _TICKET + "--arch ResNet-20 --ticket grasp --density 0.1 --fraction 0.5 --first_images --rearrange --no_export",
    ),
    "ticket_shuffled": (
        _TICKET + "--arch Conv2 --ticket synflow --prune_iters 5 --density 0.2 --inverse --shuffle_weights --no_export",
    ),
    "ticket_from_file": (
        _PRUNE + "--criterion magnitude --density 0.2 --out {run}/masks.npz",
        _TICKET + "--arch ResNet-20 --ticket {run}/masks.npz --reinitialize --no_test_each_epoch --no_export",
    ),
    "sanity": (
        "-m tfprune sanity --dataset digits --arch ResNet-20 --density 0.2 --epochs 1 --batch_size 64 --seeds 2 "
        "--train_path {run}/run --methods snip partially_trained --checks shuffled corrupted",
    ),
    "dpp": (
        "-m tfprune dpp teacher --out {run}/teacher.npz --input_dim 50 --num_data 20000 --sig_w 0.1",
        "-m tfprune dpp student --teacher {run}/teacher.npz --out {run}/student.npz",
        "-m tfprune dpp prune --student {run}/student.npz --teacher {run}/teacher.npz --k 3 --reweight --num_masks 10 "
        "--out {run}/nodes.npz",
        "-m tfprune dpp prune --student {run}/student.npz --teacher {run}/teacher.npz --k 10 --choice dpp_edge "
        "--num_masks 4 --reweight --out {run}/edges.npz",
        "-m tfprune dpp prune --student {run}/student.npz --teacher {run}/teacher.npz --k random --expected_size 2 "
        "--num_masks 10 --kernels {run}/kernels.npz --out {run}/random.npz",
        "-m tfprune dpp evaluate --masks {run}/nodes.npz --teacher {run}/teacher.npz --examples 2000 "
        "--out {run}/evaluated.npz",
    ),
    "dpp_compare": (
        "-m tfprune dpp compare --out {run}/run --repeats 2 --num_masks 5 --node_k 2 3 --simulated 2 --examples 1000 "
        "--input_dim 40 --num_data 10000 --mode soft_committee --nonlinearity relu --lr 0.05",
    ),
    "dpp_image": (
        "-m tfprune dpp image --out {run}/run --dataset digits --widths 20 12 --repeats 2 --num_masks 2 --pool 2 "
        "--density 0.3 0.6 --epochs 3 --examples 600",
    ),
    "prune_l2": (
        _PRUNE + "--criterion l2 --flops 0.5 --round_to 4 --plan {run}/plan.json --out {run}/small.keras",
        _PRUNE + "--plan {run}/plan.json --out {run}/again.keras",
        "-m tfprune inspect {inputs}/resnet/trained.keras {run}/small.keras --no_latency",
        _TEST + "--arch ResNet-20 --trained_param {run}/small.keras",
        "-m tfprune benchmark {inputs}/resnet/trained.keras {run}/small.keras --runs 2 --json {run}/benchmark.json",
    ),
    "prune_l1_local": (
        _PRUNE + "--criterion l1 --params 0.4 --scope local --min_channels 3 --max_sparsity 0.9 "
        "--out {run}/small.keras",
    ),
    "prune_taylor": (
        _PRUNE + "--criterion taylor --flops 0.6 --steps 2 --schedule cubic --data digits --examples 200 --recalibrate "
        "--out {run}/small.keras",
    ),
    "prune_ekg": (_PRUNE + "--criterion ekg --density 0.6 --data digits --examples 200 --out {run}/small.keras",),
    "prune_dpp_node": (
        _PRUNE + "--criterion dpp_node --density 0.5 --data digits --examples 200 --reweight --out {run}/small.keras",
        _PRUNE_MIXED + "--criterion dpp_node --density 0.5 --out {run}/blind.keras",
    ),
    "prune_mixed": (
        _PRUNE_MIXED + "--criterion fpgm --density 0.5 --reweight --data {inputs}/examples.npz --out {run}/fpgm.keras",
        _PRUNE_MIXED + "--criterion bn_scale --density 0.9 --ignore head --out {run}/bn_scale.keras",
        _PRUNE_MIXED + "--criterion random --params 0.6 --steps 3 --schedule exponential --out {run}/random.keras",
        "-m tfprune inspect {inputs}/mixed.keras --no_latency",
    ),
    "prune_weights_synflow": (
        _PRUNE + "--criterion synflow --density 0.1 --iterations 20 --out {run}/masks.npz",
        _PRUNE_MIXED + "--criterion synflow --density 0.3 --iterations 5 --schedule linear --original_ties "
        "--out {run}/mixed.npz",
    ),
    "prune_weights_by_size": (
        _PRUNE + "--criterion magnitude --density 0.1 --scope local --out {run}/magnitude.npz",
        _PRUNE + "--criterion lottery --density 0.1 --out {run}/lottery.npz",
        _PRUNE + "--criterion smart_ratio --density 0.1 --out {run}/smart_ratio.npz",
        _PRUNE_MIXED + "--criterion hybrid --density 0.2 --ignore head --out {run}/hybrid.npz",
    ),
    "prune_weights_with_data": (
        _PRUNE + "--criterion snip --density 0.1 --data digits --examples 100 --out {run}/snip.npz",
        _PRUNE + "--criterion grasp --density 0.2 --data digits --examples 100 --out {run}/grasp.npz",
        _PRUNE_MIXED + "--criterion grad_norm --density 0.2 --data {inputs}/examples.npz --out {run}/grad_norm.npz",
        _PRUNE_MIXED + "--criterion fisher --density 0.2 --data {inputs}/examples.npz --out {run}/fisher.npz",
    ),
    "prune_weights_dpp_edge": (
        _PRUNE_DENSE + "--criterion dpp_edge --density 0.5 --data {inputs}/examples.npz --out {run}/masks.npz",
    ),
    "export": (
        "-m tfprune export {inputs}/resnet/trained.keras {run}/float.tflite",
        "-m tfprune export {inputs}/resnet/trained.keras {run}/int8.tflite --int8 --data digits --examples 64",
        "-m tfprune export {inputs}/resnet/trained.keras {run}/float16.tflite --quantize float16",
        "-m tfprune export {inputs}/mixed.keras {run}/saved_model",
        "-m tfprune export {inputs}/mixed.keras {run}/plain.keras",
    ),
    "imagenet_ekg": (
        _IMAGENET + "--config configs/ekg/imagenet_resnet50.yaml --arch ResNet-20 --baseline_path {run}/baselines "
        "--baseline_epoch 1 --train_epoch 1 --search_target_rate 0.95 --num_teacher 2 --search_images 4 "
        "--search_batch_size 8 --no_export",
        _TEST_IMAGES + "--trained_param {run}/run/trained.keras",
    ),
    "imagenet_peekaboo": (
        _IMAGENET + "--config configs/peekaboo/imagenet_resnet50.yaml --arch ResNet-20 --prune_iters 2 --epochs 1 "
        "--no_export",
    ),
    "imagenet_peekaboo_stages": (
        "train_imagenet.py prune --arch Conv2-BN --image_size 8 --pruner SNIP --prune_iters 2 --prune_images 12 "
        "--density 0.5 --out {run}/masks.npz {inputs}/images",
        "train_imagenet.py train --masks {run}/masks.npz --arch Conv2-BN --image_size 8 --resize_size 10 --epochs 2 "
        "--batch_size 8 --val_batch_size 8 --do_log 1 --no_export --train_path {run}/run {inputs}/images",
    ),
    "imagenet_dense": (
        _IMAGENET + "--config configs/tickets/imagenet_resnet50_dense.yaml --arch ResNet-20 --epochs 2",
        _TEST_IMAGES + "--trained_param {run}/run/trained.keras",
    ),
    "imagenet_ticket": (
        _IMAGENET + "--config configs/tickets/imagenet_resnet50_smart_ratio.yaml --arch ResNet-20 --epochs 1 "
        "--no_export",
    ),
    "imagenet_multiprize": (
        _IMAGENET + "--config configs/multiprize/imagenet_resnet50_kn.yaml --arch ResNet-20 --density 0.2 --epochs 1 "
        "--warmup_epochs 0 --name x --augmix --jsd --no_export",
    ),
}


def make_inputs(folder: Path, commands: Iterable[str], root: Path, environment: Mapping[str, str]) -> None:
    """Makes the inputs that commands read, except those that are there.

    Args:
        folder: Where the inputs are kept.
        commands: The commands; they name an input as `{inputs}/NAME`.
        root: The checkout that trains the ResNet.
        environment: The environment of its command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = " ".join(commands)
    if "{inputs}/resnet" in text and not (folder / "resnet" / "trained.keras").exists():
        words = shlex.split(_RESNET.format(inputs=folder))
        shutil.rmtree(folder / "resnet", ignore_errors=True)
        subprocess.run([sys.executable, *words], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    if "{inputs}/examples" in text:
        np.savez(folder / "examples.npz", **_examples())
    for name, make in (("mixed", _mixed_model), ("dense", _dense_model)):
        if f"{{inputs}}/{name}" in text and not (folder / f"{name}.keras").exists():
            keras.utils.set_random_seed(0)
            model, examples = make(), _examples()
            model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(examples["x"], examples["y"], epochs=10, batch_size=20, verbose=0)
            model.save(folder / f"{name}.keras")
    if "{inputs}/images" in text:
        _draw_images(folder / "images", np.random.default_rng(1))


def _examples() -> dict[str, np.ndarray]:
    """Returns noisy images of ten patterns, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 10
    patterns = rng.random((10, 8, 8, 1))
    return {"x": (patterns[labels] + 0.3 * rng.standard_normal((120, 8, 8, 1))).astype(np.float32), "y": labels}


def _mixed_model() -> keras.Model:
    """Returns a model with layers of many kinds."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 1), name="images")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", name="first")(inputs)))
    left = layers.Conv2D(12, 3, padding="same", groups=2, name="grouped")(x)
    right = layers.SeparableConv2D(12, 3, padding="same", name="separable")(x)
    x = layers.Concatenate(name="both")([layers.Add()([left, x]), layers.ReLU()(right)])
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    squeezed = layers.Dense(6, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Dense(24, activation="sigmoid", name="excite")(squeezed)])
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="strided")(x)
    x = layers.Reshape((16, 16))(layers.LayerNormalization(name="normalized")(x))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8, name="attention")(x, x)])
    x = layers.Conv1D(12, 3, activation="relu", name="along")(x)
    x = layers.GRU(10, name="recurrent")(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.Dense(14, "relu", name="hidden")(x)), name="mixed")


def _dense_model() -> keras.Model:
    """Returns a model of dense layers."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 1), name="images")
    x = layers.Dense(16, "sigmoid", name="first")(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.Dense(12, "relu", name="second")(x)), name="dense")


def _draw_images(root: Path, rng: np.random.Generator) -> None:
    """Draws JPEG and PNG images of four classes in the folders `train` and `val`."""
    for label in range(4):
        pattern = tf.image.resize(rng.random((4, 4, 3)) * 200, (40, 44 + 4 * label), "bicubic")
        for number in range(12):
            image = tf.saturate_cast(pattern + rng.normal(20, 15, pattern.shape), tf.uint8)
            folder = root / ("train" if number < 8 else "val") / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            kind, encode = ("png", tf.io.encode_png) if number % 4 == 3 else ("JPEG", tf.io.encode_jpeg)
            (folder / f"{number:02d}.{kind}").write_bytes(encode(image).numpy())
