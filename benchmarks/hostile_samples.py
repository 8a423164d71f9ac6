"""Valid small files of every format that tfprune reads, one function per format; `hostile_formats` names them.

Each function gets an empty folder and makes folders `0`, `1` and so on in it: one input each, complete as the reader
finds it. Contents are the same each time, apart from dates in archives.
"""

import io
import json
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfprune
from tfprune.exporting import add_record, export, export_packed
from tfprune.landscape import Section
from tfprune.masks import Masks, Ticket
from tfprune.models import build_model
from tfprune.pruning import PruningHistory, plan_channels, prune_channels
from tfprune.recipes.models.building import find_architecture

CLASSES, SHAPE, ARCH = 10, (8, 8, 1), "ResNet-8x2"
RECORD = {"method": "mine", "arch": ARCH, "dataset": "digits", "settings": {"density": 0.25, "init": None}}
RUN_SETTINGS = {"arch": ARCH, "epochs": 2, "lr": 0.1, "milestones": [0.5, 0.75], "precision": None, "seed": 0}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _each(folder: Path, suffix: str, contents: Iterable[bytes]) -> None:
    """Writes `0/input<suffix>`, `1/input<suffix>` and so on."""
    for number, content in enumerate(contents):
        (folder / str(number)).mkdir()
        (folder / str(number) / f"input{suffix}").write_bytes(content)


def _folders(folder: Path, count: int) -> list[Path]:
    made = [folder / str(number) for number in range(count)]
    for each in made:
        each.mkdir()
    return made


def small_model() -> keras.Model:
    """The model that plans, masks and tickets are made for."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv0")(inputs)
    x = shortcut = keras.layers.ReLU(name="relu0")(keras.layers.BatchNormalization(name="bn0")(x))
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv1")(x)
    x = keras.layers.Add(name="add")([x, keras.layers.DepthwiseConv2D(3, padding="same", name="depth")(shortcut)])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.ReLU(name="relu1")(x))
    return keras.Model(inputs, keras.layers.Dense(4, name="fc")(x), name="small")


def pickles(folder: Path) -> None:
    """Weights by the names of the EKG authors, in all protocols."""
    sized = find_architecture(ARCH).default_widths()
    model = build_model(ARCH, num_classes=CLASSES, input_shape=SHAPE, seed=0, widths=dict.fromkeys(sized, 2))
    arrays = {}
    for layer in model.layers:
        short = layer.name.replace("block", "ResNet/BasicBlock").replace("_", "/", 1)
        name = short if layer.name.startswith("block") else f"ResNet/{layer.name}"
        for variable in layer.variables:
            end = "biases" if variable.name == "bias" else variable.name
            arrays[f"{name}/{end}:0"] = np.asarray(variable).astype(np.float32)
    _each(folder, ".pkl", [pickle.dumps(arrays, protocol) for protocol in range(6)])


def torch_files(folder: Path) -> None:
    """Checkpoints of PyTorch, before and since version 1.6, made without PyTorch."""
    arrays = {
        f"module.{layer}.{part}": _rng().normal(size=shape).astype(np.float32)
        for layer, shape in (("convs.0", (4, 3, 3, 3)), ("convs.2", (4, 4, 3, 3)), ("linear.0", (10, 16, 1, 1)))
        for part in ("weight", "scores")
    }
    content = {"epoch": 3, "arch": "Conv2", "state_dict": arrays, "conv_type": "SubnetConv", "prune_rate": 0.5}
    _each(folder, ".pth", [_torch_archive(content), _torch_sequence(content)])


class _TorchPickler(pickle.Pickler):
    """Writes arrays as PyTorch writes tensors; their numbers are kept in `storages`."""

    def __init__(self, file: Any, modules: Mapping[str, ModuleType]) -> None:
        super().__init__(file, 2)
        self.storages: list[np.ndarray] = []
        self._modules = modules

    def persistent_id(self, value: Any) -> Any:
        """Returns what stands for a storage."""
        if not isinstance(value, memoryview):
            return None
        self.storages.append(np.asarray(value))
        size = self.storages[-1].size
        return "storage", self._modules["torch"].FloatStorage, str(len(self.storages) - 1), "cpu", size, None

    def reducer_override(self, value: Any) -> Any:
        """Returns the call that makes a tensor."""
        if not isinstance(value, np.ndarray):
            return NotImplemented
        strides = tuple(step // value.itemsize for step in value.strides)
        arguments = (memoryview(value.ravel()), 0, value.shape, strides, False, OrderedDict())
        return self._modules["torch._utils"]._rebuild_tensor_v2, arguments


def _torch_pickle(content: Any) -> tuple[bytes, list[np.ndarray]]:
    """Returns the pickle of PyTorch, and the storages."""
    modules = {name: ModuleType(name) for name in ("torch", "torch._utils")}
    modules["torch"].FloatStorage = type("FloatStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]
    rebuild: Any = type(_rng)(_rng.__code__, {}, "_rebuild_tensor_v2")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        buffer = io.BytesIO()
        pickler = _TorchPickler(buffer, modules)
        pickler.dump(content)
        return buffer.getvalue(), pickler.storages
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def _torch_archive(content: Any) -> bytes:
    import zipfile

    text, storages = _torch_pickle(content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("best/data.pkl", text)
        archive.writestr("best/byteorder", "little")
        for number, storage in enumerate(storages):
            archive.writestr(f"best/data/{number}", storage.tobytes())
    return buffer.getvalue()


def _torch_sequence(content: Any) -> bytes:
    text, storages = _torch_pickle(content)
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, machine)]
    keys = pickle.dumps([str(number) for number in range(len(storages))], 2)
    # Before 1.6 a storage's id has a sixth part, the view, which `_TorchPickler` always writes.
    data = [np.int64(each.size).tobytes() + each.tobytes() for each in storages]
    return b"".join([*head, text, keys, *data])


def dpp_files(folder: Path) -> None:
    """Teacher, student, pruned students, and kernels of `tfprune dpp`."""
    from tfprune.dpp import Committee
    from tfprune.recipes.dpp.kernels import StudentKernels
    from tfprune.recipes.dpp.pruning import PrunedStudents
    from tfprune.recipes.dpp.student import TrainedStudent
    from tfprune.recipes.dpp.teacher import TeacherTask

    rng = _rng()
    network = Committee(rng.normal(size=(4, 6)), rng.normal(size=4))
    masks = rng.random((2, 4, 6)) < 0.5
    task = TeacherTask(network, 0.25, 100, "normal", 0)
    moments = np.eye(6)
    student = TrainedStudent(network, moments, np.ones(3), task.digest, 0.5, 0)
    settings: dict[str, Any] = {
        "choice": "dpp_edge",
        "k": 3,
        "expected_size": float("nan"),
        "reweight": True,
        "seed": 0,
    }
    settings |= {"sampler": "own", "original_quirks": False, "teacher": task.digest}
    pruned = PrunedStudents(network, masks, [network, network], np.zeros(2), settings)
    teachers, students, prunings, kernels = _folders(folder, 4)
    task.save(str(teachers / "teacher.npz"))
    student.save(str(students / "student.npz"))
    pruned.save(str(prunings / "pruned.npz"))
    StudentKernels.stored(str(kernels / "kernels.npz"), "node", network, moments)


def search_states(folder: Path) -> None:
    """The state of an EKG search."""
    from tfprune.recipes.ekg.stages import save_state
    from tfprune.search.state import SearchState, SubNetwork

    rng = _rng()
    rates, orders = np.linspace(0.5, 1, 3), rng.permutation(20).astype(np.float32)
    history = tuple(SubNetwork(orders, rates, 1.5 - step) for step in range(2))
    state = SearchState(rates, orders, rng.normal(size=(5, 10)).astype(np.float32), 2, history, 1000, 50_000, 0.75)
    (place,) = _folders(folder, 1)
    save_state(state, place / "search.npz")


def masks_files(folder: Path) -> None:
    """Masks, and a ticket."""
    model = small_model()
    weights = {path: _rng().random(variable.shape) < 0.4 for path, variable in _kernels(model).items()}
    masks = Masks(weights, parameters=model.count_params())
    plain, ticket = _folders(folder, 2)
    masks.save(plain / "masks.npz")
    Ticket.from_model(masks, model, arch="small", classes=4).save(ticket / "ticket.npz")


def _kernels(model: keras.Model) -> Mapping[str, Any]:
    return tfprune.graph.prunable_weights(model)


def packed_files(folder: Path) -> None:
    """A packed model with a record."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.ReLU()(keras.layers.Conv2D(8, 3, use_bias=False)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3, use_bias=False)(x))
    plain = keras.Model(inputs, keras.layers.Dense(4, use_bias=False)(x))
    (place,) = _folders(folder, 1)
    export_packed(tfprune.convert(plain, "subnet", density=0.3, seed=0), place / "model.mpt", record=RECORD)


def keras_files(folder: Path) -> None:
    """Models of Keras' layers of many kinds, and of tfprune's own."""
    first, second, third, fourth = _folders(folder, 4)
    small_model().save(first / "model.keras")
    add_record(first / "model.keras", RECORD)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    words = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(9, 8)(words)
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.Dropout(0.1)(layers.GRU(4)(x))
    model = keras.Model(words, [layers.Dense(3, "softmax")(x), keras.ops.mean(x, axis=-1)])
    model.compile("adam", loss=["sparse_categorical_crossentropy", "mse"])
    model.save(second / "model.keras")
    inputs = keras.Input(SHAPE)
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    plain = keras.Model(inputs, layers.Dense(10)(x), name="masked")
    tfprune.convert(plain, "masked", Masks.full(_kernels(plain))).save(third / "model.keras")
    tfprune.convert(plain, "subnet", density=0.5, seed=0).save(fourth / "model.keras")


def weights_files(folder: Path) -> None:
    """A model of a known architecture, in the folder of a run."""
    (place,) = _folders(folder, 1)
    (place / "run").mkdir()
    sized = find_architecture(ARCH).default_widths()
    model = build_model(ARCH, num_classes=CLASSES, input_shape=SHAPE, seed=0, widths=dict.fromkeys(sized, 2))
    model.save(place / "run" / "best.keras")
    add_record(place / "run" / "best.keras", RECORD)
    (place / "run" / "settings.yaml").write_text("arch: ResNet-8x2\ndataset: digits\ndata_path: null\n", "utf-8")


def tflite_files(folder: Path) -> None:
    """TFLite files, in float and in integers."""
    first, second = _folders(folder, 2)
    export(small_model(), first / "model.tflite")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])
    export(model, second / "model.tflite")


def plan_files(folder: Path) -> None:
    """A pruning plan, and a history of two."""
    plan, history = _folders(folder, 2)
    model = small_model()
    plan_channels(model, "l2", density=0.5).save(plan / "plan.json")
    steps = PruningHistory()
    prune_channels(model, "l2", density=0.5, steps=2, history=steps)
    steps.save(history / "plan.json")


def settings_files(folder: Path) -> None:
    """Settings of a method as YAML."""
    text = "arch: ResNet-56\ntrain_epoch: 20\nlearning_rate: 1e-2\ndecay_points: [0.5, .75]\nKnowledge: true\n"
    more = "# a comment\narch: &name ResNet-56\nseed: 3\nweight_decay: !!float 5e-4\ndecay_points:\n- 0.5\n- 0.8\n"
    _each(folder, ".yaml", [text.encode(), more.encode()])


def run_folders(folder: Path) -> None:
    """The folder of a run, as it is read when the run is resumed and when it is replaced."""
    from tfprune.recipes.training import StageTimes
    from tfprune.recipes.training.run_folder import RunFolder

    for place in _folders(folder, 2):
        run = RunFolder.create(place / "run", RUN_SETTINGS, seed=0)
        times = StageTimes(run.file("seconds.json"))
        with times.stage("training"):
            log = run.metrics("training", last_step=0)
            for step in range(1, 5):
                log.append({"epoch": step, "step": 10 * step, "loss": 1 / step, "test_accuracy": 0.5, "seconds": 1.5})
        run.write_result({"accuracy": 0.75, "loss": 0.5, "finished": "2024-01-01T00:00:00"})
        run.file("masks.npz").write_bytes(b"masks")
        run.close()
        (place / "run" / "of_the_user.txt").write_text("keep", encoding="utf-8")
        (place / "other.txt").write_text("keep", encoding="utf-8")


def resumed_runs(folder: Path) -> None:
    """A run that has ended, in its folder, with checkpoints."""
    from hostile_formats import trained

    (place,) = _folders(folder, 1)
    trained(place)


def banks(folder: Path) -> None:
    """A memory bank of two shards."""
    from hostile_formats import bank

    (place,) = _folders(folder, 1)
    shards = bank(place)
    for number, length in enumerate(shards.lengths):
        shards.write(number, _rng().normal(size=(length, 3, 2)).astype(np.float32))


def clusters(folder: Path) -> None:
    """Values of `TF_CONFIG`."""
    workers = {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}
    values = [
        {"cluster": workers, "task": {"type": "worker", "index": 1}},
        {"cluster": {"chief": ["[::1]:99"], **workers}, "task": {"type": "chief", "index": 0}},
    ]
    _each(folder, ".json", [json.dumps(value).encode() for value in values])


def sections(folder: Path) -> None:
    """The loss along a direction, and on a plane."""
    for number, place in enumerate(_folders(folder, 2)):
        steps = np.linspace(-1, 1, 5)
        losses = _rng().random((3, 5) if number == 0 else (2, 5, 5))
        Section(steps, losses, 0.5, "moving", 64, 0).save(place / "section.json")


def example_files(folder: Path) -> None:
    """Examples of the user for scores, and for an accuracy."""
    rng = _rng()
    buffers = []
    for write in (np.savez, np.savez_compressed):
        buffers.append(io.BytesIO())
        write(buffers[-1], x=rng.random((6, 8, 8, 3)).astype(np.float32), y=rng.integers(0, 4, 6))
    _each(folder, ".npz", [buffer.getvalue() for buffer in buffers])


def _encoded_images() -> dict[str, bytes]:
    """Returns an image in several encodings, by suffix."""
    ramp = tf.cast(tf.reshape(tf.range(64 * 64 * 3) % 251, (64, 64, 3)), tf.uint8)
    return {".JPEG": tf.io.encode_jpeg(ramp).numpy(), ".png": tf.io.encode_png(ramp).numpy()}


def image_folders(folder: Path) -> None:
    """Folders of classes with JPEG and PNG images."""
    (place,) = _folders(folder, 1)
    for part in ("train", "val"):
        for name in ("n00", "n01"):
            (place / part / name).mkdir(parents=True)
            for suffix, content in _encoded_images().items():
                (place / part / name / f"image{suffix}").write_bytes(content)


def tiny_imagenets(folder: Path) -> None:
    """Tiny-ImageNet as it is distributed, with two classes."""
    (place,) = _folders(folder, 1)
    image = _encoded_images()[".JPEG"]
    lines = []
    (place / "val" / "images").mkdir(parents=True)
    for number, name in enumerate(("n00", "n01")):
        (place / "train" / name / "images").mkdir(parents=True)
        (place / "train" / name / "images" / f"{name}_0.JPEG").write_bytes(image)
        (place / "val" / "images" / f"val_{number}.JPEG").write_bytes(image)
        lines.append(f"val_{number}.JPEG\t{name}\t0\t0\t63\t63\n")
    (place / "val" / "val_annotations.txt").write_text("".join(lines), encoding="utf-8")


def prepared_data(folder: Path) -> None:
    """A data set in TFRecord files, as TensorFlow Datasets prepares it."""
    import tensorflow_datasets as tfds

    (place,) = _folders(folder, 1)

    class Colors(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Images of one color each."""

        name = "colors"
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = place

        def _info(self) -> Any:
            kind, image = tfds.features.ClassLabel(num_classes=3), tfds.features.Image(encoding_format="png")
            features = tfds.features.FeaturesDict({"image": image, "label": kind})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

        def _split_generators(self, manager: Any) -> Any:
            return {split: self._generate_examples() for split in ("train", "test")}

        def _generate_examples(self) -> Any:
            for number in range(4):
                yield number, {"image": np.full((9, 8, 3), 10 * number, np.uint8), "label": number % 3}

    Colors(data_dir=place).download_and_prepare()
