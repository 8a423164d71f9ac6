import pytest
import tensorflow as tf
from operation_times import operation_times


def test_kinds_of_operations():
    many = tf.ones([300, 300])

    @tf.function
    def products(values):
        with tf.name_scope("layer"):
            for _ in range(8):
                values = tf.linalg.matmul(values, many)
            return tf.nn.relu(values)

    @tf.function
    def sums(values):
        with tf.name_scope("layer"):
            return tf.cumsum(values) * values

    times = operation_times({"products": lambda: products(many).numpy(), "sums": lambda: sums(many).numpy()}, rounds=2)
    assert times["products"]["dense layers"] > 0
    assert times["products"].most_common(1)[0][0] == "dense layers"
    assert times["sums"]["dense layers"] == 0
    assert times["sums"]["other operations"] > 0
    assert times["sums"]["batch norm, additions"] > 0


def test_a_failing_call_ends_the_trace():
    def fail():
        if calls.append(None) or len(calls) > 1:
            raise RuntimeError("no")

    calls = []
    with pytest.raises(RuntimeError, match="no"):
        operation_times({"fails": fail}, rounds=1)
    assert operation_times({"works": lambda: None}, rounds=1)["works"].total() >= 0
