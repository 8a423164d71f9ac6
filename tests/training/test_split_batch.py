import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.training.split_batch import split_batch


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 40), parts=st.integers(1, 9))
def test_no_row_is_lost(rows, parts):
    batch = {"images": np.arange(rows * 2.0).reshape(rows, 2), "labels": np.arange(rows)}
    pieces = split_batch(batch, parts)
    assert len(pieces) == parts
    for name, value in batch.items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), value)
    lengths = [len(piece["labels"]) for piece in pieces]
    assert max(lengths) - min(lengths) <= 1
