"""Files of PyTorch: two that PyTorch 2.13 wrote, those before 1.6 and since, and files that are none."""

import os
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.reading.torch_bytes import (
    MACHINE,
    VERSION,
    Called,
    Kept,
    Named,
    Tensor,
    WithState,
    archive,
    pickled,
    sequence,
)
from tfprune.errors import CheckpointError
from tfprune.reading.torch_file import read_torch_file

WRITERS = pytest.mark.parametrize("write", [archive, sequence])
HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["torch_archive.pth", "torch_sequence.pth"])
def test_files_that_pytorch_wrote(name):
    content = read_torch_file(HERE / name)
    state = content["state_dict"]
    assert list(state) == [
        "module.conv.weight",
        *(f"module.bn.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    ]
    np.testing.assert_array_equal(state["module.conv.weight"], np.arange(18.0).reshape(2, 1, 3, 3))
    assert state["module.bn.num_batches_tracked"].shape == ()
    assert int(state["module.bn.num_batches_tracked"]) == 1
    numbers = np.arange(24.0, dtype=np.float32)
    np.testing.assert_array_equal(content["transposed"], numbers.reshape(2, 3, 4).transpose(2, 0, 1))
    np.testing.assert_array_equal(content["column"], [1, 7, 13, 19])
    for key, expected in {
        "half": np.array([0.5, -2], np.float16),
        "double": np.array(2.5),
        "flags": np.array([1, 0], np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }.items():
        np.testing.assert_array_equal(content[key], expected, strict=True)
    assert (content["epoch"], content["best_acc1"], content["none"]) == (3, 12.5, None)
    assert content["list"] == [1, -2, 2**40, "x"]
    assert content["optimizer"]["param_groups"][0]["lr"] == 0.1
    assert content["optimizer"]["state"][0]["momentum_buffer"].shape == (2, 1, 3, 3)


@WRITERS
def test_tensors_are_views_of_storages(write, tmp_path):
    whole = np.arange(30, dtype=np.float32)
    arrays = {
        "all": whole,
        "middle": whole[4:20],
        "steps": whole[2:26:3],
        "turned": whole[:24].reshape(2, 3, 4).transpose(2, 0, 1),
        "half": np.array([1, 0.1], np.float16),
        "long": np.array([2**60, -1]),
        "int": np.array([[7]], np.int32),
        "nothing": np.zeros((3, 0), np.float64),
    }
    write(tmp_path / "a.pth", {name: Tensor(array) for name, array in arrays.items()})
    found = read_torch_file(tmp_path / "a.pth")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert not found[name].flags.writeable
    assert np.shares_memory(found["middle"], found["steps"])


def test_parts_of_storages(tmp_path):
    whole = np.arange(20, dtype=np.float32)
    sequence(tmp_path / "a.pth", [Tensor(whole[6:9], part=("1", 5, 10)), Tensor(whole[5:15], part=("1", 5, 10))])
    first, second = read_torch_file(tmp_path / "a.pth")
    np.testing.assert_array_equal(first, [6, 7, 8])
    np.testing.assert_array_equal(second, np.arange(5, 15))
    sequence(tmp_path / "b.pth", Tensor(whole, part=("1", 15, 10)))
    with pytest.raises(CheckpointError, match=r"a part \('1', 15, 10\) of a storage of 20 numbers"):
        read_torch_file(tmp_path / "b.pth")


def test_the_tensors_of_the_oldest_versions(tmp_path):
    array = np.arange(6, dtype=np.float32)
    pid = ("storage", Named("torch", "FloatStorage"), "7", "cpu", 6, None)
    size = Called(Named("torch", "Size"), ((2, 3),))
    old = Called(Named("torch._utils", "_rebuild_tensor"), (Kept(pid), 0, size, (3, 1)))
    sequence(tmp_path / "a.pth", [old], keys=["7"])
    with (tmp_path / "a.pth").open("ab") as file:
        file.write((6).to_bytes(8, "little") + array.tobytes())
    np.testing.assert_array_equal(read_torch_file(tmp_path / "a.pth")[0], array.reshape(2, 3))


@WRITERS
def test_nothing_in_a_file_is_executed(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = {
        "posix.system": Called(Named("posix", "system"), ("touch hacked",)),
        "builtins.exec": Called(Named("builtins", "exec"), ("open('hacked', 'w')",)),
        "torch.load": Called(Named("torch", "load"), ("a",)),
        "torch.nn.modules.conv.Conv2d": Named("torch.nn.modules.conv", "Conv2d"),
        "a call of something that is no function": Called(Named("torch", "FloatStorage"), (3,)),
        "a change of the reader itself": WithState(Named("torch._utils", "_rebuild_tensor_v2"), {"a": 1}),
        "an object kept outside of it": Kept(("module", "a", "a.py", "print(1)")),
        "a storage named '../0'": Kept(("storage", Named("torch", "FloatStorage"), "../0", "cpu", 1)),
    }
    for name, value in hostile.items():
        write("a.pth", {"a": value})
        with pytest.raises(CheckpointError, match=f"it asks for {name}; nothing of it was run"):
            read_torch_file(Path("a.pth"))
    assert not Path("hacked").exists()


@WRITERS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (4, 4), (1, 1000)),
        (16, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (17,), (0,)),
        (0, (2,), (-1,)),
        (0, (4, 4), (4,)),
        (0, [4], (1,)),
        (0, (2**70, 0), (1, 1)),
        (0, (1,) * 65, (1,) * 65),
        (0.5, (1,), (1,)),
    ],
)
def test_tensors_cannot_reach_beyond_their_storage(write, offset, shape, strides, tmp_path):
    view = (None,) if write is sequence else ()
    kept = Kept(("storage", Named("torch", "FloatStorage"), "0", "cpu", 16, *view))
    window = Called(Named("torch._utils", "_rebuild_tensor_v2"), (kept, offset, shape, strides, False, {}))
    extra = {"keys": ["0"]} if write is sequence else {"data/0": bytes(64)}
    write(tmp_path / "a.pth", window, **extra)
    with pytest.raises(CheckpointError, match=r"it asks for (a tensor|an array) of the shape"):
        read_torch_file(tmp_path / "a.pth")


@WRITERS
def test_small_files_stay_small(write, tmp_path):
    """A file cannot ask for more numbers than it has, and cannot cost more than a few steps per byte."""
    huge = ("storage", Named("torch", "DoubleStorage"), "0", "cpu", 10**15, *((None,) if write is sequence else ()))
    write(tmp_path / "a.pth", [Kept(huge)])
    with pytest.raises(CheckpointError, match="it has no room for a storage of 1000000000000000 numbers"):
        read_torch_file(tmp_path / "a.pth")
    write(tmp_path / "c.pth", {(1, 2): 3})
    with pytest.raises(CheckpointError, match=r"a key \(1, 2\), where text or a number was expected"):
        read_torch_file(tmp_path / "c.pth")


def test_members_of_archives(tmp_path):
    content = {"a": Tensor(np.ones(100, np.float32))}
    archive(tmp_path / "a.pth", content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="it asks for members that are compressed"):
        read_torch_file(tmp_path / "a.pth")
    archive(tmp_path / "b.pth", content, byteorder=b"big")
    with pytest.raises(CheckpointError, match="it asks for numbers of another byte order"):
        read_torch_file(tmp_path / "b.pth")
    archive(tmp_path / "c.pth", content, **{"data/7000": bytes(396)})
    with pytest.raises(CheckpointError, match="a storage of 100 numbers with 396 bytes"):
        read_torch_file(tmp_path / "c.pth")
    with zipfile.ZipFile(tmp_path / "d.pth", "w") as file:
        file.writestr("a/b", b"")
    with pytest.raises(CheckpointError, match=r"an archive without one data\.pkl"):
        read_torch_file(tmp_path / "d.pth")


def test_members_that_share_their_bytes_do_not_multiply(tmp_path):
    """The bytes of each storage contain all later members, so that they are together far larger than the file."""
    keys, raw, infos = [f"{n}" for n in range(30)], np.zeros(1000, np.float32).tobytes(), []
    for key in reversed(keys):
        info = zipfile.ZipInfo(f"a/data/{int(key):02}")
        info.file_size = info.compress_size = len(raw)
        info.CRC = zlib.crc32(raw)
        infos.insert(0, info)
        raw = info.FileHeader() + raw
    pids = [
        ("storage", Named("torch", "ByteStorage"), f"{int(key):02}", "cpu", info.file_size)
        for key, info in zip(keys, infos, strict=True)
    ]
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as file:
        file.writestr("a/data.pkl", pickled([Kept(pid) for pid in pids]))
        end = file.start_dir + len(raw)
        for info in infos:
            info.header_offset = end - info.file_size - len(info.FileHeader())
            file.filelist.append(info)
            file.NameToInfo[info.filename] = info
        file.fp.write(raw)
        file.start_dir = end
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        assert sum(info.file_size for info in file.infolist()) > 10 * (tmp_path / "a.pth").stat().st_size
    with pytest.raises(CheckpointError, match=r"its members share bytes|it is damaged"):  # Python checks it since 3.13
        read_torch_file(tmp_path / "a.pth")


def test_sequences_that_do_not_fit_together(tmp_path):
    path, content = tmp_path / "a.pth", {"a": Tensor(np.ones(8, np.float32)), "b": Tensor(np.ones(2, np.float64))}

    def refusal(**changes):
        sequence(path, content, **changes)
        with pytest.raises(CheckpointError) as raised:
            read_torch_file(path)
        return str(raised.value)

    assert "numbers of another byte order" in refusal(machine=MACHINE | {"little_endian": False})
    assert "numbers of another byte order" in refusal(machine={})
    for keys in ([], ["7000"], ["7000", "7001", "7002"], {"7000": 1}, ["7000", "7000"]):
        assert "the list of its storages is another one" in refusal(keys=keys)
    assert "a storage has another size than its content says" in refusal(size=1)
    sequence(path, content)
    raw = path.read_bytes()
    for size in (0, 5, 14, 60, 140, len(raw) // 2, len(raw) - 30, len(raw) - 1):
        path.write_bytes(raw[:size])
        with pytest.raises(CheckpointError, match=r"cannot read .*: expected a file of torch\.save, "):
            read_torch_file(path)
    path.write_bytes(raw.replace(VERSION.to_bytes(2, "little"), (1002).to_bytes(2, "little"), 1))
    with pytest.raises(CheckpointError, match="it has 1002 at its beginning, where 1001 was expected"):
        read_torch_file(path)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "a.pth.tar"
    with tarfile.open(path, "w") as file:
        file.add(__file__, "storages")
    with pytest.raises(CheckpointError, match=r"is a tar file, as PyTorch wrote it before version 0\.1\.10"):
        read_torch_file(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 116032273\n")
    with pytest.raises(CheckpointError, match="a pointer of Git LFS, not the file itself; fetch it by `git lfs pull`"):
        read_torch_file(path)
    for content in (b"", b"nothing", bytes(1000), b"\x93NUMPY\x01\x00", b"\x80\x02}q\x00."):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot read .*: expected a file of torch\.save, "):
            read_torch_file(path)
    with pytest.raises(CheckpointError, match=r"cannot read .*nothing\.pth: No such file"):
        read_torch_file(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match=r"cannot read .*: it is a folder"):
        read_torch_file(tmp_path)


@WRITERS
def test_the_same_numbers_in_many_tensors(write, tmp_path):
    """Twenty names for one array, whose numbers would be looked at again and again, are too many."""
    whole = np.arange(50_000, dtype=np.float32)
    write(tmp_path / "a.pth", [Tensor(whole)] * 10)
    found = read_torch_file(tmp_path / "a.pth")
    assert len(found) == 10
    assert all(np.shares_memory(found[0], each) for each in found)
    write(tmp_path / "b.pth", [Tensor(whole)] * 20)
    with pytest.raises(CheckpointError, match="it asks for the same numbers in many tensors"):
        read_torch_file(tmp_path / "b.pth")


def test_the_list_of_storages_is_one_of_text(tmp_path):
    """As text, these tuples within tuples would be a million million letters."""
    path = tmp_path / "a.pth"
    sequence(path, [1], keys=[])
    assert read_torch_file(path) == [1]
    content = path.read_bytes()
    assert content.endswith(pickled([]))
    many = b"\x80\x02])q\x00" + b"0h\x00h\x00\x86q\x00" * 40 + b"a."
    path.write_bytes(content[: -len(pickled([]))] + many)
    with pytest.raises(CheckpointError, match="the list of its storages is another one"):
        read_torch_file(path)


def test_pipes(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="it is no regular file"):
        read_torch_file(tmp_path / "a.pth")
