import input_pipeline
import pytest


@pytest.mark.parametrize("jitter", [False, True])
def test_variants_give_batches_of_one_shape(tmp_path, jitter):
    paths = input_pipeline.write_images(tmp_path, 6)
    assert len(paths) == 6
    source = input_pipeline.Source(paths, size=32, batch_size=4, jitter=jitter)
    for name, variant in input_pipeline.VARIANTS.items():
        batch = next(variant(source))
        images = batch["images"] if name == "ours" else batch
        assert images.shape == (4, 32, 32, 3)
        assert abs(float(images.numpy().mean() if name != "pil" else images.mean())) < 1.5
    seconds = input_pipeline.measure(source, rounds=2, batches=1)
    assert {name: len(each) for name, each in seconds.items()} == dict.fromkeys(input_pipeline.VARIANTS, 2)
