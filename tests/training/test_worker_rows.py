import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.training.worker_rows import check_parts, worker_rows

counts = st.integers(1, 4)


@settings(max_examples=60, deadline=None)
@given(size=counts, chunks=counts, devices=counts, workers=counts)
def test_workers_share_every_chunk_in_order(size, chunks, devices, workers):
    replicas = devices * workers
    batch = size * chunks * replicas
    rows = [worker_rows(batch, chunks=chunks, replicas=replicas, workers=workers, rank=rank) for rank in range(workers)]
    share = size * devices
    for chunk in range(chunks):
        of_chunk = [row for each in rows for row in each[chunk * share : (chunk + 1) * share]]
        assert of_chunk == list(range(chunk * share * workers, (chunk + 1) * share * workers))


@pytest.mark.parametrize(
    ("batch", "chunks", "replicas", "message"),
    [
        (15, 1, 2, "a multiple of 2 .* received 15; take 14,"),
        (16, 3, 2, "a multiple of 6 .* received 16; take 12,"),
        (3, 4, 1, "a multiple of 4 .* received 3; take 4,"),
        (8, 0, 1, "at least 1 chunk, received 0"),
    ],
)
def test_unequal_parts(batch, chunks, replicas, message):
    with pytest.raises(ConfigError, match=message):
        check_parts(batch, chunks=chunks, replicas=replicas)
