"""A small corpus of hostile files, and what is said about each.

The files are made by the generators of `benchmarks/hostile.py`, which tries thousands more of them in processes of
their own. Here each is named by its format and by what was changed.
"""

import contextlib
import re

import pytest

from tfprune.errors import TfpruneError

CASES = [
    ("pkl", "input.pkl: tuples 200,000 deep, as a key", "asks for a key"),
    ("pkl", "input.pkl: 2**60 references in tuples, as a key", "asks for a key"),
    ("pkl", "input.pkl: 2**60 references in tuples", "something else than numbers under 'conv/kernel:0'"),
    ("pkl", "input.pkl: colliding keys", "asks for the instruction LONG4"),
    ("pkl", "input.pkl: a place in memory of 10**8", "something else than numbers"),
    ("pkl", "input.pkl: a text of 2**60 bytes", "ends early, or is too long"),
    ("pkl", "input.pkl: a shape of references", "asks for an array of the shape"),
    ("pkl", "input.pkl: one million marks", "more than 1,048,576 values, or 10,000 within each other"),
    ("pkl", "input.pkl: a call of os.system", "asks for os.system; nothing of it was run"),
    ("pkl", "input.pkl: an array without a state", "something else than numbers"),
    ("pkl", "input.pkl: fifo", "it is no regular file"),
    ("pth", "input.pth: best/data.pkl: one million marks, alone", "10,000 within each other"),
    ("pth", "input.pth: best/data.pkl: a call of os.system", "asks for os.system; nothing of it was run"),
    ("pth", "input.pth: best/data.pkl is gigabytes of zeros", "claims 2,5.* bytes, where"),
    ("pth", "input.pth: best/data/0: empty", "storage"),
    ("pth", "input.pth: a size of 1073741824", "has two sizes"),
    ("dpp", "teacher.npz: weights.npy is gigabytes of zeros", "claims 2,5.* bytes, where"),
    ("dpp", "teacher.npz: weights.npy: shape (1000000000,)", "'weights' has the shape"),
    ("dpp", "teacher.npz: weights.npy: dtype |O", "'weights' has the type object, expected numbers"),
    ("dpp", "student.npz: moments.npy: nan", "'moments' has NaN or infinite numbers"),
    ("dpp", "pruned.npz: without masks.npy", "it has no array 'masks'"),
    ("search", "search.npz: rates.npy: without numbers", "'rates' has the shape"),
    ("search", "search.npz: compressed by method 99", "compressed in an unknown way"),
    ("masks", "ticket.npz: origin.npy: text '[[[[[[[[['", "more than 100 levels deep"),
    ("masks", "ticket.npz: weights/fc/bias.npy: nan", "'weights/fc/bias' has NaN or infinite numbers"),
    ("examples", "input.npz: x.npy: objects", "'x' has the type object"),
    ("examples", "input.npz: sparse", "damaged or no ZIP archive"),
    ("packed", "model.mpt: header of gigabytes", "header is cut short or too long"),
    ("packed", "model.mpt: header: lists 100,000 deep", "more than 100 levels deep"),
    ("packed", "model.mpt: dtype O", r"tensors\[0\]\.dtype"),
    ("packed", "model.mpt: kept 1099511627776", "it says 1,099,511,627,776 signs for 65 kept weights"),
    ("packed", "model.mpt: model: layers/5/config/units = 1000000000", "more weights than it has"),
    ("plan", "plan.json: groups = -1", "groups: expected array, got int"),
    ("plan", "plan.json: lists 100,000 deep", "more than 100 levels deep"),
    ("plan", "plan.json: many numbers", "more than 1,048,576 values"),
    ("plan", "plan.json: keys twice", "it has the key 'format' twice"),
    ("settings", "input.yaml: seed: !!int abc", "at line 1, column 7: 'abc' is no !!int"),
    ("settings", "input.yaml: learning_rate: {[a]: 1}", "expected a name as a key, received a list or mapping"),
    ("settings", "input.yaml: seed: [&a0 [x, x], &a1 [*a0, *a0, *a", "more than 131,072 values"),
    ("settings", "input.yaml: seed: &a [*a]", "or contains itself"),
    ("settings", 'input.yaml: seed: "\\U00110000"', "invalid YAML"),
    ("settings", "input.yaml: seed: !!python/object/apply:os.syste", "expected no tag"),
    ("settings", "input.yaml: fifo", "it is no regular file"),
    ("cluster", "input.json: lists 100,000 deep", "more than 100 levels deep"),
    ("section", "section.json: losses = 'x'", "losses: expected array, got str"),
    ("tflite", "model.tflite: link to zeros", "it is no regular file"),
    ("tiny", "val/val_annotations.txt: column 1 = b''", "a class that train has"),
    ("tiny", "val/val_annotations.txt: many lines", "which is no image in .*, or twice"),
    ("tiny", "val/images/val_0.JPEG: PNG of zeros", "expected a JPEG image of 64 x 64, it is damaged, larger"),
    ("tiny", "train/n00/images/n00_0.JPEG: sparse", "it has more than 67,108,864 bytes"),
    ("tfds", "colors/1.0.0/features.json: link to zeros", "expected a file of TensorFlow Datasets, it is no regular"),
    ("tfds", "colors/1.0.0/dataset_info.json: sparse", "it has more than 67,108,864 bytes"),
    ("tfds", "colors/1.0.0/colors-train.tfrecord-00000-of-00001: fifo", "it is no regular file"),
    ("tfds", "colors/1.0.0/colors-test.tfrecord-00000-of-00001: sparse", "has more than 4 records"),
    ("keras", "model.keras: config.json: layers/9/config/units = 1000000000", "more weights than it has"),
    ("keras", "model.keras: config.json: layer 1: Lambda of code", "has a Lambda, which runs code"),
    ("keras", "model.keras: config.json: layer 1: TFSMLayer", "has a TFSMLayer, which runs code"),
    ("keras", "model.keras: config.json: layer 1: a module to import", "names 'hostile_trap.Trap'"),
    ("keras", "model.keras: config.json: layer 1: StringLookup of a file", "takes its vocabulary from another file"),
    ("keras", "model.keras: config.json is gigabytes of zeros", "claims 2,5.* bytes, where"),
    ("keras", "model.keras: model.weights.h5: layers/batch_normalization/vars/0 in another file", "in another file"),
    ("keras", "model.keras: model.weights.h5: layers/batch_normalization/vars/0 that is made of itself", "larger than"),
]


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Returns valid inputs of a format, made once, and the format."""
    import hostile_formats
    import hostile_mutations

    made = {}

    def samples(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            hostile_formats.FORMATS[name].make(folder)
            made[name] = [hostile_mutations.read_input(each) for each in sorted(folder.iterdir())]
        return hostile_formats.FORMATS[name], made[name]

    return samples


def hostile_input(samples, change):
    import hostile_mutations

    return dict(hostile_mutations.bombs_of(samples, hostile_mutations.SPECIAL))[change]()


@pytest.mark.parametrize(("name", "change", "words"), CASES, ids=[f"{name}: {change}" for name, change, _ in CASES])
def test_what_is_said(valid, tmp_path, name, change, words):
    form, samples = valid(name)
    hostile_input(samples, change).write(tmp_path / "input")
    with pytest.raises(TfpruneError, match=words) as raised:
        form.read(tmp_path / "input")
    message = str(raised.value)
    assert message.isprintable()
    assert len(message) < 400
    assert re.search(r"[;,] (?:[a-z]+ )+", message), "says what to do"


@pytest.mark.parametrize("name", ["..", ".", "/", "../other.txt", "../../outside", "a/../../..", "*"])
def test_a_run_that_names_other_folders_leaves_them_alone(valid, tmp_path, name):
    form, samples = valid("run")
    (tmp_path / "outside").write_text("kept")
    for words in ("with", "of"):
        hostile_input(samples, f"run/run.json: made {words} {name[:20]!r}").write(tmp_path / "input")
        with contextlib.suppress(TfpruneError):
            form.read(tmp_path / "input")
        assert (tmp_path / "outside").read_text() == "kept"
        assert (tmp_path / "input" / "other.txt").read_text() == "keep"
        assert (tmp_path / "input" / "run" / "of_the_user.txt").read_text() == "keep"
