import json

import numpy as np
import pytest

from tfprune.data import load_data
from tfprune.graph import channel_groups, slim
from tfprune.methods.ekg import MemoryBank, SubNetworks, memory_bank
from tfprune.methods.ekg.gates import Gates


@pytest.mark.slow
def test_golden_bank(golden, shared, resnet20, tmp_path):
    """The original's memory bank of its complete ResNet-20 search, for the first 100 training images."""
    data = load_data("CIFAR10", shared / "data" / "tfds")
    groups = channel_groups(resnet20)
    gates = Gates(groups, 0.2)
    masks = [
        gates.mask(golden[f"r20/search_step/{step:03d}/order"], golden[f"r20/search_step/{step:03d}/width_after"])
        for step in golden["r20/search_teachers"]  # entry i of the history is what step i accepted
    ]
    images, normalize = data.train_images[:100], data.normalize
    networks = SubNetworks(resnet20, groups)
    bank = MemoryBank(tmp_path / "bank.npy").build(networks, masks, images, normalize, classes=10, batch_size=48)
    expected = golden["r20/bank_knowledge"]
    assert bank.shape == expected.shape == (100, 10, 5)
    np.testing.assert_allclose(bank, expected, rtol=0, atol=2e-3)
    assert bank.dtype == np.float32
    assert isinstance(bank, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        bank[0, 0, 0] = 1


@pytest.fixture
def build(tiny, few_digits, tmp_path, monkeypatch):
    """Builds a bank of two teachers in batches of 30; returns it and the batches that were run."""
    monkeypatch.setattr(memory_bank, "_FLUSH_EVERY", 2)
    groups = channel_groups(tiny)
    networks = SubNetworks(tiny, groups)
    masks = [np.ones(groups.channels, bool), np.arange(groups.channels) % 3 > 0]

    def run(name="bank", stop_after=None, masks=masks, batch_size=30):
        done = []

        def progress(number, total):
            assert total == -(-200 // batch_size)
            done.append(number)
            if number == stop_after:
                raise KeyboardInterrupt

        bank = MemoryBank(tmp_path / f"{name}.npy").build(
            networks,
            masks,
            few_digits.train_images,
            few_digits.normalize,
            classes=10,
            batch_size=batch_size,
            progress=progress,
        )
        return bank, done

    return run


def test_logits_are_those_of_the_slimmed_networks(build, tiny, few_digits):
    bank, done = build()
    assert done == list(range(1, 8))
    images = few_digits.normalize(few_digits.train_images)
    groups = channel_groups(tiny)
    small = slim(tiny, np.arange(groups.channels) % 3 > 0, groups, rescale_kernels=True)
    for batch in (slice(0, 30), slice(180, 200)):
        np.testing.assert_allclose(bank[batch, :, 1], small(images[batch], training=True), atol=1e-4)


def test_an_interrupted_build_goes_on_where_it_was(build, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build("broken", stop_after=5)
    note = json.loads((tmp_path / "broken.progress.json").read_text())
    assert note["done"] == 4
    bank, done = build("broken")
    assert done == [5, 6, 7]
    np.testing.assert_array_equal(bank, build("whole")[0])
    assert build("broken")[1] == []


def test_a_bank_of_other_settings_is_built_anew(build):
    first = np.array(build()[0])
    other, done = build(batch_size=50)
    assert done == [1, 2, 3, 4]
    assert not np.allclose(first[:30], other[:30], atol=1e-3)  # the batch's make-up matters
    assert build()[1] == list(range(1, 8))


def test_another_number_of_teachers_is_another_bank(build, tiny):
    build()
    bank, done = build(masks=[np.ones(channel_groups(tiny).channels, bool)])
    assert bank.shape == (200, 10, 1)
    assert len(done) == 7


def test_a_note_without_its_bank_counts_for_nothing(build, tmp_path):
    build()
    (tmp_path / "bank.npy").unlink()
    assert build()[1] == list(range(1, 8))
