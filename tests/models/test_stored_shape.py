import keras

from tfprune.models.stored_shape import stored_shape


def test_the_shape_of_a_functional_model(tmp_path):
    inputs = keras.Input((5, 6, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "model.keras")
    assert stored_shape(tmp_path / "model.keras") == (5, 6, 3)


def test_files_that_do_not_say_it(tmp_path):
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.ReLU()(inputs)).save(tmp_path / "any.keras")
    (tmp_path / "damaged.keras").write_bytes(b"no archive")
    assert [stored_shape(tmp_path / name) for name in ("any.keras", "damaged.keras", "absent.keras")] == [None] * 3
