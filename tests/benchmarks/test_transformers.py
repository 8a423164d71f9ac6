import keras
import numpy as np
import pytest
import transformers

ROWS = [
    {
        "network": "vit",
        "seed": seed,
        "way": way,
        "density": density,
        "parameters": 0.4,
        "pruned": pruned,
        "fine_tuned": 9.0,
    }
    for seed, pruned in enumerate((2.0, 4.0, 6.0))
    for way, density in (("whole", 1.0), *((way, 0.5) for way in transformers.WAYS))
]


def test_labels_are_the_next_characters():
    text = "".join(chr(32 + index % 90) for index in range(3 * transformers.LENGTH))
    inputs, labels = transformers.windows([text[:100], "é", text[102:]])
    read = text[:100] + "\n\n" + "\n\n" + text[102:]
    assert bytes(inputs["token_ids"].ravel().tolist()).decode() == read[: inputs["token_ids"].size]
    assert bytes(labels.ravel().tolist()).decode() == read[1 : 1 + labels.size]
    assert inputs["padding_mask"].all()


def test_texts_are_in_a_fixed_order():
    texts = transformers.python_texts()
    assert texts == transformers.python_texts()
    assert sum(map(len, texts)) > 10**6


def test_means_and_standard_errors():
    assert transformers.summary(ROWS, "vit", "l2", 0.5, "pruned") == pytest.approx((4.0, 2 / 3**0.5))
    assert transformers.summary(ROWS[:7], "vit", "l2", 0.5, "pruned") == (2.0, 0.0)


def test_table_and_file_of_the_rows(tmp_path):
    lines = transformers.table(ROWS).splitlines()
    assert "| l2 | 4.00 ± 1.15 | 9.00 ± 0.00 |" in lines
    assert "| | 50% of the channels, 40% of the parameters | trained again |" in lines
    transformers.write_rows(tmp_path / "rows.csv", ROWS)
    assert transformers.read_rows(tmp_path / "rows.csv") == ROWS


def test_networks_that_share_a_step_are_trained_as_if_they_were_alone():
    def network(seed):
        keras.utils.set_random_seed(seed)
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(3)])

    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 4)).astype("float32")
    data = images, np.argmax(images[:, :3], axis=1)
    study = transformers.Study(lambda: network(0), data, data, lambda loss, accuracy: loss, 8)
    trainer = transformers.Trainer(study, 20, 0.02)
    together = [trainer(network(seed), 5) for seed in (1, 2, 3)]
    alone = [transformers.Trainer(study, 20, 0.02)(network(seed), 5) for seed in (1, 2, 3)]
    assert together == pytest.approx(np.array(alone))
    assert all(after < before for before, after in together)
    assert len({before for before, _ in together}) == 3
