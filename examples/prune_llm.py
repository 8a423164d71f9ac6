"""Prunes a small language model of KerasHub, trains it again, and lets both models write.

A GPT-2 learns the help pages of Python, character by character. tfprune plans which channels of its MLPs to remove, by
what their removal changes in the loss, and returns a smaller model. KerasHub is a package of its own (`pip install
keras-hub`). Nothing is downloaded; it takes about a minute. Run it from the root of the repository:

    python examples/prune_llm.py
"""

from pydoc_data.topics import topics

import keras
import keras_hub
import numpy as np

import tfprune

LENGTH = 64  # characters of an example


def train(model, inputs, labels, rate, epochs):
    """Trains a model to predict the next character."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(rate), loss, sampler=keras_hub.samplers.TopKSampler(3, seed=0), jit_compile=False
    )
    model.fit(inputs, labels, batch_size=16, epochs=epochs, verbose=0)


def write(model, start):
    """Returns a text that begins with `start`; each next character is one of the three most probable ones."""
    tokens = np.zeros((1, LENGTH), "int32")
    tokens[0, : len(start)] = list(start.encode())
    written = model.generate({"token_ids": tokens, "padding_mask": tokens > 0}, stop_token_ids=None)
    return bytes(written["token_ids"][0].tolist()).decode()


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    text = "".join(topics.values()).encode("ascii", "ignore")
    codes = np.frombuffer(text[: len(text) // LENGTH * LENGTH], np.uint8).astype("int32")
    tokens, labels = codes.reshape(-1, LENGTH), np.roll(codes, -1).reshape(-1, LENGTH)
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}

    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 256, "max_sequence_length": LENGTH}
    backbone = keras_hub.models.GPT2Backbone(vocabulary_size=128, dropout=0.0, **sizes)
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    train(model, inputs, labels, rate=3e-3, epochs=4)

    some = {name: array[:256] for name, array in inputs.items()}, labels[:256]
    plan = tfprune.plan_channels(model, criterion="taylor", params=0.6, data=some)
    print(plan.explain())  # the plan decides; the model is unchanged
    small = plan.apply()
    train(small, inputs, labels, rate=1e-3, epochs=1)
    for name, each in (("original", model), ("pruned", small)):
        print(f"{name}: {each.count_params():,} parameters write {write(each, 'The statement ')!r}")
