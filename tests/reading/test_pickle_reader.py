"""What a pickle may cost, and which instructions it may have."""

import io
import pickle

import pytest

from tfprune.reading import RefusedError, shown
from tfprune.reading.pickle_reader import Call, PickleReader, RefusedPickleError, checked_shape


def load(content, names=None, limit=1 << 20):
    return PickleReader(names or {}, limit).load(io.BytesIO(content))


VALUE = {
    "text": ["a", "ü\n", ""],
    "numbers": [0, -1, 300, 70_000, -(2**31), 2**63, 2**200, 0.1, float("inf")],
    "others": (None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {1: [{2.5: None}]}),
    "long": [list(range(2500)), dict.fromkeys(range(2500), "x")],
    7: b"bytes\xff",
}


@pytest.mark.parametrize("protocol", range(6))
def test_values_are_those_that_python_reads(protocol):
    shared = ["shared"]
    value = VALUE | {"once": shared, "twice": shared}
    found = load(pickle.dumps(value, protocol))
    assert found == value
    assert found["once"] is found["twice"]


def test_pickles_of_a_stream_are_read_one_after_another():
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps("two", 4) + b"rest")
    reader = PickleReader({}, limit=100)
    assert [reader.load(stream), reader.load(stream), stream.read()] == [[1], "two", b"rest"]


def test_cycles():
    cycle = []
    cycle.append(cycle)
    found = load(pickle.dumps(cycle, 2))
    assert found[0] is found


@pytest.mark.parametrize(
    ("content", "asks_for"),
    [
        (b"\x80\x04\x8f.", "the instruction EMPTY_SET"),
        (b"\x82\x01.", "the instruction EXT1"),
        (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
        (b"\x8b\x01\x00\x00\x00\x01.", "the instruction LONG4"),
        (b"]K\x012.", "the instruction DUP"),
        (b"0.", "the instruction POP"),
        (b"K\x01K\x02\x93.", "a name that is no text"),
        (b"}(K\x01K\x02\x86K\x03u.", r"a key \(1, 2\), where text or a number was expected"),
        (b"}]K\x01s.", r"a key \[\], where text or a number was expected"),
        (pickle.dumps({2**61 - 1: 0}, 2), "a key 2305843009213693951, where text or a number was expected"),
        (b"K\x01K\x02a.", "values in something else than a list or a dictionary"),
        (b"K\x01K\x02b.", "a change of the reader itself"),
        (b"K\x01)R.", "a call of something that is no function"),
        (b"ca\nb\n}R.", "a call of something that is no function"),
        (b"K\x01Q.", "an object kept outside of it"),
    ],
)
def test_what_is_refused(content, asks_for):
    with pytest.raises(RefusedPickleError, match=f"^it asks for {asks_for}; nothing of it was run$"):
        load(content, {("a", "b"): Call(lambda: 1)})


@pytest.mark.parametrize(
    "content", [b"", b".", b"a.", b"s.", b"t.", b"u.", b"h\x00.", b"q\x00.", b"\x85.", b"]", b"(K\x01", b"}(K\x01u."]
)
def test_damaged_pickles(content):
    with pytest.raises(RefusedError, match="its pickle is damaged"):
        load(content)


def test_tuples_that_contain_themselves_many_times_cost_nothing():
    """As a key, or as text, it would be a million million values."""
    many = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 40
    with pytest.raises(RefusedPickleError, match=r"a key \(\(\.\.\.\), \(\.\.\.\)\), where"):
        load(b"}" + many + b"Ns.")
    nested = load(many + b".")
    assert shown(nested) == "((...), (...))"
    with pytest.raises(RefusedPickleError, match=r"an array of the shape \(\(\.\.\.\), \(\.\.\.\)\)"):
        checked_shape(nested)
    assert shown({"a": [1] * 100}) == "{'a': [...]}"
    assert len(shown("x" * 1000)) <= 40


def test_bytes_are_limited():
    content = pickle.dumps("x" * 1000, 2)
    assert load(content, limit=len(content)) == "x" * 1000
    with pytest.raises(RefusedError, match="it ends early, or is too long"):
        load(content, limit=len(content) - 1)
    with pytest.raises(RefusedError, match="it ends early, or is too long"):
        load(b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.")
    with pytest.raises(RefusedError):
        load(b"V" + b"x" * 100 + b"\n.", limit=50)


def test_a_place_in_the_memo_takes_no_room_below_it():
    assert load(b"K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 5


def test_text_is_not_encoded_again_and_again():
    encode = b"c_codecs\nencode\nh\x00h\x01\x86R"
    start = b"X" + (1000).to_bytes(4, "little") + b"x" * 1000 + b"q\x00X\x06\x00\x00\x00latin1q\x01"
    assert load(start + encode + b".", limit=1500) == b"x" * 1000
    with pytest.raises(RefusedPickleError, match="the same bytes many times"):
        load(start + encode * 2 + b".", limit=1500)
    with pytest.raises(RefusedPickleError, match="the encoding 'utf8'"):
        load(b"c_codecs\nencode\n" + b"X\x01\x00\x00\x00aX\x04\x00\x00\x00utf8\x86R.")


def test_values_and_their_nesting_are_limited():
    with pytest.raises(RefusedPickleError, match="more than 1,048,576 values, or 10,000 within each other"):
        load(b"](" + b"N0" * (1 << 19) + b"e.", limit=1 << 22)
    for content in (b"]" * 10_002, b"(" * 10_002, b"N" * 10_002):
        with pytest.raises(RefusedPickleError, match="10,000 within each other"):
            load(content + b".")
    assert load(b"]" * 9000 + b"a" * 8999 + b".")
