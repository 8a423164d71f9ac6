"""Checkpoints of the authors: their numbers, and files that are none."""

import pickle
import zipfile

import numpy as np
import pytest

import tfprune
from tests.recipes.models.test_golden_biprop import build
from tfprune.errors import CheckpointError
from tfprune.layers import subnet_layers
from tfprune.recipes.models.torch_file import read_torch_file
from tfprune.recipes.multiprize import load_original

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def narrow(name="Conv4Wide"):
    plain = build(name, init="ones", classifier_init="ones", batch_norm="fixed", width_multiplier=0.125)
    return tfprune.convert(plain, "subnet", density=0.9, original_quirks=True)


def checkpoint(golden, **changes):
    names = [str(name) for name in golden["narrow/conv_names"]]
    state = {
        f"module.{n}.{k}": torch.tensor(golden[f"narrow/init/{n}.{k}"]) for n in names for k in ("weight", "scores")
    }
    content = {"epoch": 3, "arch": "Conv4Wide", "state_dict": state, "best_acc1": np.float64(12.5), "prune_rate": 0.5}
    content["optimizer"] = {"param_groups": [{"lr": np.float64(0.1), "params": [0, 1]}]}
    return content | changes


def test_logits(golden, tmp_path):
    torch.save(checkpoint(golden), tmp_path / "model_best.pth")
    model = narrow()
    assert load_original(tmp_path / "model_best.pth", model) == 0.5
    images = golden["train/x"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(model(images), golden["narrow/pr0.5/logits"], atol=2e-6)
    assert [float(layer.density.numpy()) for layer in subnet_layers(model)] == [0.5] * 7


def test_content_equals_what_torch_reads(golden, tmp_path):
    tensors = {"a": torch.arange(24).reshape(2, 3, 4).transpose(0, 2), "b": torch.nn.Parameter(torch.ones(3)[1:])}
    tensors |= {"c": torch.tensor(True), "d": torch.zeros(0, 3), "e": torch.tensor(2.5, dtype=torch.float64)}
    torch.save({**tensors, "number": np.float64(0.1), "text": "x", "list": [1, None]}, tmp_path / "a.pth")
    content = read_torch_file(tmp_path / "a.pth")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(content[name], tensor.detach().numpy())
        assert content[name].shape == tuple(tensor.shape)
    assert (content["number"], content["text"], content["list"]) == (0.1, "x", [1, None])


class Hostile:
    def __reduce__(self):
        return (exec, ("open('hacked', 'w')",))


def test_hostile_and_damaged_files(golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = narrow()
    torch.save(checkpoint(golden, best_acc1=Hostile()), tmp_path / "hostile.pth")
    with pytest.raises(CheckpointError, match=r"refused: the file asks for .*exec; nothing in .* was run"):
        load_original("hostile.pth", model)
    assert not (tmp_path / "hacked").exists()
    torch.save(checkpoint(golden), "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 30):
        (tmp_path / "cut.pth").write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"damaged or not a file of torch.save"):
            load_original("cut.pth", model)
    torch.save(checkpoint(golden), "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"save it again with PyTorch 1.6 or later"):
        load_original("old.pth", model)
    with pytest.raises(CheckpointError, match=r"cannot read .*nothing\.pth"):
        load_original("nothing.pth", model)
    with zipfile.ZipFile("good.pth") as old, zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match=r"refused: the file asks for members that are compressed"):
        load_original("bomb.pth", model)


class Window:
    """A tensor that reaches beyond its storage."""

    def __reduce__(self):
        return (torch._utils._rebuild_tensor_v2, (Stored(), 0, (4, 4), (1, 1000), False, {}))


class Stored:
    pass


def test_tensors_cannot_reach_beyond_their_storage(tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 16) if isinstance(value, Stored) else None

    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        with archive.open("a/data.pkl", "w") as file:
            Pickler(file, 2).dump(Window())
        archive.writestr("a/data/0", bytes(64))
    with pytest.raises(CheckpointError, match=r"a tensor of the shape \(4, 4\) in a storage of 16 numbers"):
        read_torch_file(tmp_path / "a.pth")


def test_other_networks(golden, tmp_path):
    torch.save(checkpoint(golden), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"expected 9 sub-network layers and 0 batch norms.* has 7 and 0"):
        load_original(tmp_path / "a.pth", narrow("Conv6Wide"))
    wide = build("Conv4Wide", init="ones", classifier_init="ones", width_multiplier=0.25)
    with pytest.raises(CheckpointError, match=r"expected the shape .* build the architecture of the file .'Conv4Wide'"):
        load_original(tmp_path / "a.pth", tfprune.convert(wide, "subnet"))
    torch.save(checkpoint(golden, prune_rate=-1.0), tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"expected a prune_rate"):
        load_original(tmp_path / "b.pth", narrow())
    torch.save([1, 2], tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=r"expected a checkpoint with a state_dict"):
        load_original(tmp_path / "c.pth", narrow())
