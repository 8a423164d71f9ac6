import numpy as np
import pytest

from tfprune.recipes.data import ShardedRows


def shards(*lengths):
    numbers = np.arange(sum(lengths), dtype=np.float16)
    whole = np.stack([numbers, -numbers], 1)
    return whole, ShardedRows(np.split(whole, np.cumsum(lengths)[:-1]))


@pytest.mark.parametrize("lengths", [(4, 4, 3), (4, 4), (7,), (1, 1, 1)])
def test_rows_are_those_of_one_array(lengths):
    whole, rows = shards(*lengths)
    assert (rows.shape, len(rows), rows.dtype) == (whole.shape, len(whole), whole.dtype)
    order = np.random.default_rng(0).integers(0, len(whole), 50)
    np.testing.assert_array_equal(rows[order], whole[order])
    assert rows[order[:0]].shape == (0, 2)


def test_wrong_arguments():
    _, rows = shards(4, 3)
    for position in (-1, 7):
        with pytest.raises(IndexError, match="expected positions from 0 to 6"):
            rows[np.array([0, position])]
    for lengths in ((3, 4), (4, 3, 4)):
        with pytest.raises(ValueError, match="expected shards of one kind and length"):
            shards(*lengths)
    with pytest.raises(ValueError, match="expected shards of one kind"):
        ShardedRows([np.zeros((2, 3)), np.zeros((2, 3), np.float32)])
