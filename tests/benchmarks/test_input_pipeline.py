import input_pipeline
import pytest


@pytest.mark.parametrize("jitter", [False, True])
def test_variants_give_batches_of_one_shape(tmp_path, monkeypatch, jitter):
    monkeypatch.setattr(input_pipeline, "BATCH", 4)
    monkeypatch.setattr(input_pipeline, "SIZE", 32)
    paths = input_pipeline.write_images(tmp_path, 6)
    assert len(paths) == 6
    for name, variant in input_pipeline.VARIANTS.items():
        batch = next(variant(paths, jitter))
        images = batch["images"] if name == "ours" else batch
        assert images.shape == (4, 32, 32, 3)
        assert abs(float(images.numpy().mean() if name != "pil" else images.mean())) < 1.5
    seconds = input_pipeline.measure(paths, rounds=2, batches=1, jitter=jitter)
    assert {name: len(each) for name, each in seconds.items()} == dict.fromkeys(input_pipeline.VARIANTS, 2)
