"""The real program, killed and resumed, and the files that it leaves to others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SETTINGS = """
dataset: digits
arch: ResNet-20
baseline_epoch: 4
baseline_learning_rate: 0.05
train_epoch: 3
decay_points: [0.5]
batch_size: 64
search_images: 8
search_batch_size: 80
search_target_rate: 0.8
num_teacher: 3
knowledge_shard: 256
do_log: 2
"""


def start(folder, *flags):
    command = [sys.executable, "train_cifar.py", "--config", str(folder / "settings.yaml"), *flags]
    command += ["--train_path", str(folder / "run"), "--baseline_path", str(folder / "baselines")]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    output, error = process.communicate(timeout=400)
    assert (process.returncode, error) == (0, "")
    return output


def prepared(folder):
    (folder / "settings.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = prepared(tmp_path_factory.mktemp("unbroken"))
    return folder / "run", finish(start(folder))


def rows(run, name):
    lines = (run / "metrics" / f"{name}.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def enough(run, name, count):
    table = run / "metrics" / f"{name}.jsonl"
    return table.exists() and len(table.read_text().splitlines()) >= count


KILLED_AT = {
    "baseline": lambda run: enough(run, "baseline_steps", 13),
    "search": lambda run: enough(run, "search", 3),
    "memory bank": lambda run: (run / "digits_knowledge" / "bank.json").exists(),
    "fine-tuning": lambda run: enough(run, "finetuning_steps", 13),
}


def test_killed_and_resumed_equals_unbroken(unbroken, tmp_path):
    folder = prepared(tmp_path)
    for moment, reached in KILLED_AT.items():
        victim = start(folder, "--resume")
        try:
            deadline = time.monotonic() + 300
            while not reached(folder / "run"):
                assert victim.poll() is None, f"it ended before {moment}: {victim.communicate()[1]}"
                assert time.monotonic() < deadline, f"it does not reach {moment}"
                time.sleep(0.01)
        finally:
            victim.kill()
            victim.communicate()
        assert victim.returncode == -signal.SIGKILL
    finish(start(folder, "--resume"))
    expected, received = (keras.saving.load_model(run / "trained.keras") for run in (unbroken[0], folder / "run"))
    for one, other in zip(expected.get_weights(), received.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("baseline", "baseline_steps", "search", "finetuning", "finetuning_steps"):
        assert rows(folder / "run", name) == rows(unbroken[0], name)
    assert len(rows(folder / "run", "finetuning")) == 3


def test_nothing_but_progress_is_said(unbroken):
    """No warning of TensorFlow or Keras on either stream; `finish` has seen that standard error is empty."""
    _, output = unbroken
    starts = ("no GPU", "baseline ", "short training", "search: ", "memory bank: ", "finetuning ", "results in")
    starts += ("  ",)  # the table
    assert [line for line in output.splitlines() if not line.startswith(starts)] == []
    assert output.count("finetuning 3/3") == 1


def test_the_baseline_serves_the_next_run(unbroken, tmp_path):
    folder = unbroken[0].parent
    command = [sys.executable, "train_cifar.py", "--config", str(folder / "settings.yaml"), "--train_epoch", "0"]
    command += ["--train_path", str(tmp_path / "run"), "--baseline_path", str(folder / "baselines"), "--no_export"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "using the baseline that an earlier run trained" in done.stdout
    assert not (tmp_path / "run" / "metrics" / "baseline.jsonl").exists()
    assert rows(tmp_path / "run", "search") == rows(unbroken[0], "search")


def test_the_results(unbroken):
    run, output = unbroken
    numbers = json.loads((run / "results.json").read_text())
    header, values = (run / "results.csv").read_text().splitlines()
    assert dict(zip(header.split(","), values.split(","), strict=True)) == {k: str(v) for k, v in numbers.items()}
    assert numbers["after_flops"] <= 0.8 * numbers["before_flops"]
    for name in ("accuracy", "flops", "params", "file_bytes", "latency_ms"):
        assert numbers[f"before_{name}"] > 0
        assert numbers[f"after_{name}"] > 0
    assert numbers["after_params"] < numbers["before_params"] == 273_754
    assert numbers["after_file_bytes"] < numbers["before_file_bytes"]
    assert numbers["after_accuracy"] > 0.75
    assert f"{numbers['after_accuracy']:.2%}" in output


WITHOUT_TFPRUNE = """
import sys
sys.modules["tfprune"] = None
import keras, numpy as np, tensorflow as tf
run, images = sys.argv[1], np.load(sys.argv[2])
results = {name: keras.saving.load_model(f"{run}/{name}.keras")(images, training=False)
           for name in ("slimmed", "trained", "baseline")}
loaded = tf.saved_model.load(f"{run}/saved_model")
results["saved_model"] = loaded.serve(images)
np.savez(sys.argv[3], **{name: np.asarray(value) for name, value in results.items()})
"""


def test_others_read_the_files_without_tfprune(unbroken, few_digits, tmp_path):
    run, _ = unbroken
    images = few_digits.normalize(few_digits.test_images)
    np.save(tmp_path / "images.npy", images)
    files = [str(run), str(tmp_path / "images.npy"), str(tmp_path / "logits.npz")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_TFPRUNE, *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    logits = np.load(files[2])
    for name in ("slimmed", "trained", "baseline"):
        expected = keras.saving.load_model(run / f"{name}.keras")(images, training=False)
        np.testing.assert_allclose(logits[name], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits["saved_model"], logits["trained"], rtol=1e-4, atol=1e-4)
    assert np.mean(logits["trained"].argmax(1) == few_digits.test_labels) > 0.7
    assert not np.allclose(logits["slimmed"], logits["trained"], atol=0.1)
