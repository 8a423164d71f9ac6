"""Prunes one public model and checks everything about it; `field.py` does it for all, each in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from field_models import MODELS
from field_reference import kept_indices, partial_statistics, zero_the_rest

import tfprune
from tfprune.errors import TfpruneError
from tfprune.report.latency import device_name

Row = dict[str, Any]
SEQUENCE = 6
PREDICTED_DECREASE = 1e-3
_PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)
SMALLER_TARGETS = ({"params": 0.5}, {"params": 0.75}, {"density": 0.75})
"""What is tried where the FLOPs cannot be halved."""

_RELOAD = """
import importlib, sys
sys.modules["tfprune"] = None  # importing it fails
import keras, numpy as np
folder, *kinds = sys.argv[1:]
known = {}  # as a user gives them for classes that a package does not register
for module, _, name in (kind.partition(":") for kind in kinds):
    known[name] = getattr(importlib.import_module(module), name, None)
model = keras.models.load_model(f"{folder}/small.keras", custom_objects=known)
stored = np.load(f"{folder}/values.npz")
inputs = [stored[f"input_{i}"] for i in range(len(model.inputs))]
outputs = keras.tree.flatten(model(keras.tree.pack_sequence_as(model._inputs_struct, inputs), training=False))
same = [np.abs(np.asarray(found) - stored[f"output_{i}"]).max() for i, found in enumerate(outputs)]
print(max(map(float, same)) / max(float(np.abs(stored[f"output_{i}"]).max()) for i in range(len(outputs))))
"""


def check(name: str, flops: float, seed: int) -> Row:
    """Returns what was found about one model: a row of the table."""
    row: Row = {"model": name, "asked": flops, "device": device_name()}
    model = MODELS[name]()
    randomize(model, seed)
    groups = tfprune.channel_groups(model)
    counted = tfprune.complexity(model)
    row |= {"groups": len(groups), "channels": groups.channels, "flops": counted.flops, "params": model.count_params()}
    row |= {"uncounted": list(counted.uncounted), "left_alone": list(groups.pinned)}
    try:
        plan = _plan(row, model, flops, seed)
        if plan is not None:
            row |= _checked(model, plan)
    except TfpruneError as error:
        row["refused"] = f"apply: {error}"
    return row


def _plan(row: Row, model: keras.Model, flops: float, seed: int) -> Any:
    """Makes a plan; where the FLOPs cannot be halved, one for another target."""
    criterion = tfprune.criteria.Random(seed)
    for target in ({"flops": flops}, *SMALLER_TARGETS):
        try:
            plan = tfprune.plan_channels(model, criterion, **target)
        except TfpruneError as error:
            row.setdefault("refused", str(error))
            continue
        row["target"] = ", ".join(f"{key}={value:g}" for key, value in target.items())
        row |= {"kept_flops": plan.after.flops / max(1, plan.before.flops)}
        row |= {"kept_params": plan.after.params / plan.before.params}
        return plan
    return None


def _checked(model: keras.Model, plan: Any) -> Row:
    row: Row = {}
    kept = kept_indices(model, lambda: plan.apply(model), plan.apply(model))
    inputs = example_inputs(model)
    _settle(model, kept, example_inputs(model, 16))
    small = plan.apply(model)
    row |= {"same_class": type(small) is type(model), "small_params": small.count_params()}
    row["counts"] = plan.after.params == small.count_params()
    whole, found = outputs(model, inputs), outputs(small, inputs)
    with partial_statistics(model, kept):
        zero_the_rest(model, kept)
        reference = outputs(model, inputs)
    row |= {"error": difference(reference, found), "power": difference(whole, reference)}
    with tempfile.TemporaryDirectory() as folder:
        row["reload"] = _outcome(lambda: _reload(small, inputs, found, Path(folder)))
        if isinstance(row["reload"], str):  # perhaps nobody can load files of this class
            row["reload_original"] = _outcome(lambda: _reload(model, inputs, reference, Path(folder)))
        for kind, run in (("saved_model", _saved_model), ("tflite", _tflite), ("onnx", _onnx)):
            row[kind] = _outcome(lambda run=run: difference(found, run(small, inputs, Path(folder))))  # type: ignore[misc]
    row["train"] = _outcome(lambda: _train(small, inputs))
    return row


def _outcome(attempt: Callable[[], Any]) -> Any:
    """Returns what an attempt returns, or the first line of its error."""
    try:
        return attempt()
    except Exception as error:
        kind = "" if isinstance(error, TfpruneError) else f"{type(error).__name__}: "
        return kind + (str(error).strip().splitlines() or [""])[0]


def randomize(model: keras.Model, seed: int) -> None:
    """Sets weights such that signals keep their size, and no two channels are alike."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape, name = variable.shape, variable.name
        statistics = name.startswith("moving_") or name in ("mean", "variance", "count")
        if "int" in variable.dtype or statistics or not shape:
            continue
        if len(shape) > 1:
            depthwise = "depthwise" in variable.path or (len(shape) > 2 and shape[-1] == 1)
            inputs = np.prod(shape[:-2] if depthwise else shape[:-1])
            size = 0.1 if "embedding" in variable.path else np.sqrt(2 / inputs)
            variable.assign(rng.standard_normal(shape, np.float32) * np.float32(size))
        else:
            positive = name in ("gamma", "scale") or "scale" in name
            variable.assign(rng.uniform(0.5, 1.5, shape) if positive else rng.normal(0, 0.1, shape))


def example_inputs(model: keras.Model, examples: int = 2) -> Any:
    """Random inputs in the structure that the model takes; open sizes are `SEQUENCE`."""
    rng, values = np.random.default_rng(1), []
    bytes_wanted = any(isinstance(each, _PREPROCESSING) for each in model._flatten_layers())
    for tensor in model.inputs:
        shape = (examples, *(size or SEQUENCE for size in tensor.shape[1:]))
        if "mask" in tensor.name or "segment" in tensor.name:
            values.append(np.ones(shape, tensor.dtype))
        elif "int" in tensor.dtype:
            values.append(rng.integers(1, 50, shape).astype(tensor.dtype))
        else:
            values.append(rng.uniform(0, 255 if bytes_wanted else 1, shape).astype(tensor.dtype))
    return keras.tree.pack_sequence_as(model._inputs_struct, values)


def outputs(model: keras.Model, inputs: Any, training: bool = False) -> list[np.ndarray]:
    """The outputs of a model, flat; traced, as Keras would otherwise keep all tensors in memory."""
    try:
        found = tf.function(lambda: model(inputs, training=training))()
    except TypeError:  # a layer that only runs eagerly
        found = model(inputs, training=training)
    return [np.asarray(each, np.float32) for each in keras.tree.flatten(found)]


def difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Largest difference of two lists of arrays, in terms of the largest value of each."""
    pairs = list(zip(expected, found, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        raise ValueError(f"expected the shapes {[a.shape for a, _ in pairs]}, received {[b.shape for _, b in pairs]}")
    relative = max(float(np.abs(a - b).max() / max(1e-30, np.abs(a).max())) for a, b in pairs)
    return relative if np.isfinite(relative) else 1e9  # JSON has no infinity


def _settle(model: keras.Model, kept: list[Any], inputs: Any) -> None:
    """Sets batch norms' moving statistics to those of the masked model on a batch, so that signals do not die out."""
    values = [np.asarray(variable) for variable in model.variables]
    zero_the_rest(model, kept)
    norms = [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        outputs(model, inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for variable, value in zip(model.variables, values, strict=True):
        if not variable.name.startswith("moving_"):
            variable.assign(value)


def _reload(model: keras.Model, inputs: Any, found: list[np.ndarray], folder: Path) -> float:
    """Loads a model's file in a process that cannot import tfprune, and returns the largest difference."""
    model.save(folder / "small.keras")
    arrays = {f"input_{i}": np.asarray(each) for i, each in enumerate(keras.tree.flatten(inputs))}
    np.savez(folder / "values.npz", **arrays, **{f"output_{i}": each for i, each in enumerate(found)})
    kinds = {f"{type(each).__module__}:{type(each).__name__}" for each in model._flatten_layers()}
    foreign = sorted(kind for kind in kinds if not kind.startswith(("keras.", "tfprune.")))
    command = [sys.executable, "-c", _RELOAD, str(folder), *foreign]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout.strip().splitlines()[-1])


def _saved_model(small: keras.Model, inputs: Any, folder: Path) -> list[np.ndarray]:
    loaded = tf.saved_model.load(str(tfprune.export(small, folder / "saved")))
    return [np.asarray(each, np.float32) for each in keras.tree.flatten(loaded.serve(inputs))]


def _tflite(small: keras.Model, inputs: Any, folder: Path) -> list[np.ndarray]:
    path = tfprune.export(small, folder / "small.tflite")
    interpreter = tf.lite.Interpreter(str(path))
    details = interpreter.get_input_details()
    flat = [np.asarray(each) for each in keras.tree.flatten(inputs)]
    batch = 1 if len({tuple(each["shape_signature"]) for each in details if each["shape_signature"][0] == 1}) else 0
    results = []
    for rows in [slice(0, 1), slice(1, 2)] if batch else [slice(None)]:
        for detail, value in zip(_in_order(details, small), flat, strict=True):
            interpreter.resize_tensor_input(detail["index"], value[rows].shape)
        interpreter.allocate_tensors()
        for detail, value in zip(_in_order(interpreter.get_input_details(), small), flat, strict=True):
            interpreter.set_tensor(detail["index"], value[rows].astype(detail["dtype"]))
        interpreter.invoke()
        results.append([interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()])
    return [np.concatenate(each) for each in zip(*results, strict=True)]


def _onnx(small: keras.Model, inputs: Any, folder: Path) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tfprune.export(small, folder / "small.onnx")))
    flat = [np.asarray(each) for each in keras.tree.flatten(inputs)]
    details = _in_order([{"name": each.name} for each in session.get_inputs()], small)
    return session.run(None, {each["name"]: value for each, value in zip(details, flat, strict=True)})


def _in_order(details: list[Any], model: keras.Model) -> list[Any]:
    """Sorts an exported model's inputs like the original's, by their names."""
    found = [next((each for each in details if tensor.name in each["name"]), None) for tensor in model.inputs]
    return details if any(each is None for each in found) else found


def _train(small: keras.Model, inputs: Any) -> float:
    """Takes a small step against the gradient, and returns how much of the predicted decrease of the loss there is."""
    weights = [variable.value for variable in small.trainable_variables]

    def loss() -> Any:
        found = keras.tree.flatten(small(inputs, training=False))
        return sum(tf.reduce_mean(tf.square(tf.cast(each, tf.float32))) for each in found)

    with tf.GradientTape() as tape:
        before = loss()
    gradients = [None if each is None else tf.convert_to_tensor(each) for each in tape.gradient(before, weights)]
    square = sum(float(tf.reduce_sum(tf.square(each))) for each in gradients if each is not None)
    step = PREDICTED_DECREASE * float(before) / square
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is not None:
            weight.assign_sub(step * gradient)
    return float((before - loss()) / before) / PREDICTED_DECREASE
