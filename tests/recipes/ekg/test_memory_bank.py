import hashlib
import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import RunFolderError
from tfprune.graph import channel_groups, slim
from tfprune.recipes.data import load_data
from tfprune.recipes.ekg import MemoryBank
from tfprune.recipes.ekg.memory_bank import BankShards, BankSize, choose_teachers
from tfprune.search.state import Gates
from tfprune.search.subnetworks import SubNetworks

IMAGENET = BankSize(1_281_167, 1000, 5, "float16")


@pytest.mark.slow
def test_golden_bank(golden, tfds_folder, resnet20, tmp_path):
    """The original's memory bank of its complete ResNet-20 search, for the first 100 training images."""
    data = load_data("CIFAR10", tfds_folder)
    groups = channel_groups(resnet20)
    gates = Gates(groups, 0.2)
    masks = [
        gates.mask(golden[f"r20/search_step/{step:03d}/order"], golden[f"r20/search_step/{step:03d}/width_after"])
        for step in golden["r20/search_teachers"]  # entry i of the history is what step i accepted
    ]
    first = replace(data, train_images=data.train_images[:100], train_labels=data.train_labels[:100])
    bank = MemoryBank(tmp_path).build(SubNetworks(resnet20, groups), masks, first, batch_size=48)
    expected = golden["r20/bank_knowledge"]
    assert bank.shape == expected.shape == (100, 10, 5)
    np.testing.assert_allclose(bank[np.arange(100)], expected, rtol=0, atol=2e-3)
    assert bank.dtype == np.float32


@pytest.fixture(scope="module")
def networks(tiny):
    return SubNetworks(tiny, channel_groups(tiny))


@pytest.fixture
def build(networks, few_digits, tmp_path):
    """Builds a bank of two teachers in batches of 30, two a shard; returns it whole and how many batches were run."""
    channels = networks.groups.channels
    two = [np.ones(channels, bool), np.arange(channels) % 3 > 0]

    def run(name="bank", stop_after=None, masks=two, batch_size=30, data=few_digits, **settings):
        done = []

        def progress(number, total):
            done.append(number)
            if number == stop_after:
                raise KeyboardInterrupt

        (tmp_path / name).mkdir(exist_ok=True)
        bank = MemoryBank(tmp_path / name, **{"shard_images": 60, **settings})
        rows = bank.build(networks, masks, data, batch_size=batch_size, progress=progress)
        return rows[np.arange(len(rows))], len(done)

    return run


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_logits_are_those_of_the_slimmed_networks(build, tiny, few_digits, tmp_path):
    bank, done = build()
    assert (bank.shape, bank.dtype, done) == ((200, 10, 2), np.float32, 7)
    assert sorted(files(tmp_path / "bank")) == ["bank.json", *(f"shard-0000{number}.npy" for number in range(4))]
    images = few_digits.normalize(few_digits.train_images)
    groups = channel_groups(tiny)
    small = slim(tiny, np.arange(groups.channels) % 3 > 0, groups, rescale_kernels=True)
    for batch in (slice(0, 30), slice(60, 90), slice(180, 200)):
        np.testing.assert_allclose(bank[batch, :, 1], small(images[batch], training=True), atol=1e-4)


def test_the_length_of_a_shard_changes_nothing(build, tmp_path):
    whole = build("one", shard_images=1000)[0]
    assert len(files(tmp_path / "one")) == 2
    np.testing.assert_array_equal(build("many", shard_images=1)[0], whole)
    assert len(files(tmp_path / "many")) == 1 + 7


def test_an_interrupted_build_goes_on_with_the_next_shard(build, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build("broken", stop_after=5)
    assert sorted(files(tmp_path / "broken")) == ["bank.json", "shard-00000.npy", "shard-00001.npy"]
    assert build("broken")[1] == 3
    build("whole")
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert build("broken")[1] == 0


@pytest.mark.parametrize("harm", ["flipped", "short", "gone"])
def test_a_damaged_shard_is_made_again(build, tmp_path, harm, capsys):
    build()
    sound = files(tmp_path / "bank")
    shard = tmp_path / "bank" / "shard-00001.npy"
    content = bytearray(shard.read_bytes())
    content[-9] ^= 1
    shard.unlink()
    if harm != "gone":
        shard.write_bytes(content if harm == "flipped" else content[:-1])
    capsys.readouterr()
    assert build()[1] == 2
    assert files(tmp_path / "bank") == sound
    assert (f"{shard} is damaged: it is computed again" in capsys.readouterr().out) == (harm != "gone")


NOTES = ["", "[]", '{"sha256": 1}', '{"format": "of another", "sha256": {}}', "[" * 100_000, "\0", '{"sha256": {}} 1']


@pytest.mark.parametrize("note", NOTES, ids=range(len(NOTES)))
def test_without_its_note_a_bank_counts_for_nothing(build, tmp_path, note):
    build()
    (tmp_path / "bank" / "bank.json").write_text(note)
    assert build()[1] == 7


def test_a_note_that_cannot_be_opened_leaves_the_shards_alone(tmp_path):
    (tmp_path / "shard-00000.npy").write_bytes(b"kept")
    (tmp_path / "bank.json").symlink_to("bank.json")
    with pytest.raises(RunFolderError, match=r"cannot read .*bank\.json: Too many levels of symbolic links"):
        BankShards(tmp_path, {}, [4], ((3, 2), "float32"))
    assert (tmp_path / "shard-00000.npy").read_bytes() == b"kept"


def test_a_bank_of_other_settings_is_built_anew(build, networks, few_digits, tmp_path):
    first = build()[0]
    other, done = build(batch_size=50)
    assert done == 4
    assert not np.allclose(first[:30], other[:30], atol=1e-3)  # the batch's make-up matters
    assert len(files(tmp_path / "bank")) == 1 + 4
    fewer, done = build(masks=[np.ones(networks.groups.channels, bool)])
    assert (fewer.shape, done) == ((200, 10, 1), 7)
    mirrored, done = build(masks=[np.arange(networks.groups.channels) % 3 > 0])
    assert done == 7
    assert not np.allclose(mirrored, fewer)


def test_half_precision_takes_half_the_room(build, tmp_path):
    exact, half = build()[0], build("half", dtype="float16")[0]
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, exact.astype(np.float16))
    sizes = [
        sum(len(file) - 128 for name, file in files(tmp_path / each).items() if "shard" in name)
        for each in ("bank", "half")
    ]
    assert sizes == [200 * 10 * 2 * 4, 200 * 10 * 2 * 2]


def test_its_size_is_said_before_it_is_built(build, capsys):
    build()
    assert "memory bank: 200 images x 10 classes x 2 teachers in float32, 0.02 MB in" in capsys.readouterr().out
    build()
    assert capsys.readouterr().out == ""


def test_no_room_keeps_the_shards_there_are(build, tmp_path, small_files):
    build("whole")
    with pytest.raises(KeyboardInterrupt):
        build(stop_after=3)
    with small_files(2000), pytest.raises(RunFolderError, match=r"cannot write .*shard-00001\.npy: File too large"):
        build()
    assert sorted(files(tmp_path / "bank")) == ["bank.json", "shard-00000.npy"]
    assert build()[1] == 5
    assert files(tmp_path / "bank") == files(tmp_path / "whole")


def test_logits_beyond_half_precision(tmp_path):
    shards = BankShards(tmp_path, {}, [2], ((3, 1), "float16"))
    with pytest.raises(RunFolderError, match="beyond float16; take --knowledge_dtype float32"):
        shards.write(0, np.full((2, 3, 1), 1e5, np.float32))
    assert not list(tmp_path.iterdir())


def test_a_file_that_only_looks_like_a_shard(tmp_path):
    shards = BankShards(tmp_path, {}, [2], ((3, 1), "float32"))
    shards.write(0, np.zeros((2, 3, 1)))
    note = json.loads((tmp_path / "bank.json").read_text())
    assert note["format"] == "tfprune memory bank 1"
    np.save(tmp_path / "shard-00000.npy", np.zeros((3, 3, 1), np.float32))
    with pytest.raises(RunFolderError, match="expected a shard of this bank, it holds other rows; remove"):
        shards.rows()


@pytest.fixture
def free(monkeypatch):
    def set_free(count):
        usage = namedtuple("Usage", "free")(count)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)

    return set_free


def test_imagenet_takes_13_gigabytes(tmp_path, free):
    assert IMAGENET.bytes == 12_811_670_000
    free(20 * 10**9)
    assert IMAGENET.check(tmp_path) == (
        f"memory bank: 1,281,167 images x 1,000 classes x 5 teachers in float16, 12.81 GB in {tmp_path}, 20.00 GB free"
    )


def test_what_does_not_fit_is_refused(tmp_path, free):
    free(10**9)
    with pytest.raises(RunFolderError, match=r"^no room for the memory bank: .* 12\.81 GB .* 1\.00 GB free; make room"):
        IMAGENET.check(tmp_path)
    assert IMAGENET.check(tmp_path, there=11_900_000_000)
    with pytest.raises(RunFolderError, match="--knowledge_dtype float16 or fewer --num_teacher"):
        BankSize(10**6, 1000, 1, "float32").check(tmp_path)


def test_numbers_of_every_size():
    assert str(BankSize(200, 10, 3, "float32")).endswith("in float32, 0.02 MB")


@pytest.mark.parametrize("count", [3, 5, 7])
@pytest.mark.parametrize("name", ["rise20_f64", "noisy40_f64", "noisy40_f32", "few4_f64", "dups_f64"])
def test_golden(golden, name, count):
    chosen = choose_teachers(golden[f"bank/{name}/loss"], count, original_quirks=True)
    assert chosen == golden[f"bank/{name}/nt{count}"].tolist()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(1, 12))
def test_distinct_and_never_too_many(losses, count):
    chosen = choose_teachers(losses, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(losses))
    assert losses[chosen[0]] == min(losses)


def test_equal_losses():
    assert len(choose_teachers(np.ones(6), 3)) == 3


@pytest.mark.parametrize("harm", ["rows", "numbers", "archive", "pickle", "length", "header"])
def test_a_shard_that_others_made_is_no_shard(harm, tmp_path):
    """Its sum is that of the note, so only its header tells."""
    shards = BankShards(tmp_path, {"of": "a test"}, [3], ((2, 1), "float32"))
    shards.write(0, np.zeros((3, 2, 1)))
    file = tmp_path / "shard-00000.npy"
    content = file.read_bytes()
    with file.open("wb") as opened:
        if harm == "archive":
            np.savez(opened, rows=np.zeros((3, 2, 1), np.float32))
        elif harm in ("length", "header"):
            opened.write(content[:-1] if harm == "length" else content.replace(b"(3, 2, 1)", b"(3, 2, -)"))
        else:
            shape = (2, 2, 1) if harm == "rows" else (3, 2, 1)
            np.save(opened, np.zeros(shape, {"numbers": np.float64, "pickle": object}.get(harm, np.float32)))
    note = tmp_path / "bank.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": {file.name: digest}}))
    other = BankShards(tmp_path, {"of": "a test"}, [3], ((2, 1), "float32"))
    assert other.missing() == []
    with pytest.raises(RunFolderError, match=rf"cannot read {file}: expected a shard of this bank, .*; remove"):
        other.rows()


def test_a_shard_that_is_a_pipe_is_not_waited_for(tmp_path):
    shards = BankShards(tmp_path, {"of": "a test"}, [3], ((2, 1), "float32"))
    shards.write(0, np.zeros((3, 2, 1)))
    (tmp_path / "shard-00000.npy").unlink()
    os.mkfifo(tmp_path / "shard-00000.npy")
    with pytest.raises(RunFolderError, match="it is no regular file; remove it"):
        shards.missing()
