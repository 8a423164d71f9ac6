"""The two programs, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jpeg_tree import tiny_imagenet_tree
from tfprune.cli.programs import evaluate, train_cifar
from tfprune.masks import Masks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from tfprune.exporting import save_model
    from tfprune.recipes.models import build_model

    path = tmp_path_factory.mktemp("network") / "narrow.keras"
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), widths={"block1.0_conv1": 5}, seed=0)
    save_model(model, path)
    return path


@pytest.mark.parametrize("script", ["train_cifar.py", "test.py"])
def test_help_without_tensorflow(script):
    code = (
        "import sys, runpy\n"
        "sys.modules['tensorflow'] = None\n"
        f"sys.argv = [{script!r}, '--help']\n"
        f"runpy.run_path({script!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script} ")
    assert "--trained_param" in done.stdout


def test_mistakes_end_with_one_line(capsys, tmp_path):
    assert train_cifar(["--learning_rat", "1"]) == 2
    assert (
        capsys.readouterr().err == "train_cifar.py: error: unknown flag --learning_rat; did you mean --learning_rate?\n"
    )
    assert evaluate(["--trained_param", str(tmp_path / "none.keras"), "--dataset", "digits"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("test.py: error: ")
    assert "none.keras" in error
    assert error.count("\n") == 1
    assert evaluate(["--trained_param", "a.keras", "--gpu_id", "0", "1"]) == 2
    assert "expected one index, as a test runs on one device, received 0 1" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert evaluate(["--trained_param", "a.keras", "--json", str(tmp_path / "file" / "a.json")]) == 2
    assert "file is no folder; name another" in capsys.readouterr().err


def test_test_py_reports_a_narrow_network(capsys, tmp_path, network):
    file = tmp_path / "new" / "folder" / "numbers.json"
    line = f"--trained_param {network} --arch ResNet-20 --dataset digits --json {file}"
    assert evaluate(line.split()) == 0
    numbers = json.loads(file.read_text())
    shown = capsys.readouterr().out
    assert numbers["examples"] == 360
    assert numbers["top1"] <= numbers["top5"] <= 1
    # ResNet-20 for one grey channel has 273 754; block1.0_conv1, 3 x 3 from 16 channels, has 5 outputs instead of 32,
    # and so has its batch norm; the 3 x 3 convolution to 32 channels behind it reads as many less.
    assert numbers["params"] == 273_754 - 27 * (9 * 16 + 4 + 9 * 32)
    assert f"{numbers['params']:,}" in shown
    assert f"{numbers['flops']:,}" in shown
    assert f"{numbers['top1']:.2%}" in shown
    assert numbers["latency_ms"] >= numbers["latency_min_ms"] > 0


def test_batch_statistics_and_latency_are_switches(capsys, tmp_path, network):
    results = []
    for extra in (
        "--no_latency",
        "--latency off --batch_statistics",
        "--latency off --batch_statistics --val_batch_size 50",
    ):
        file = tmp_path / "numbers.json"
        line = f"--trained_param {network} --arch ResNet-20 --dataset digits --json {file} {extra}"
        assert evaluate(line.split()) == 0
        results.append(json.loads(file.read_text()))
    assert all("latency_ms" not in numbers for numbers in results)
    assert len({numbers["loss"] for numbers in results}) == 3


def environment():
    return os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_train_cifar_py_stops_on_ctrl_c_and_resumes(tmp_path):
    """A whole run: interrupted, refused without --resume, continued, tested."""
    (tmp_path / "tiny.yaml").write_text(
        "dataset: digits\narch: ResNet-20\nbaseline_epoch: 2\ntrain_epoch: 1\nsearch_target_rate: .9\n"
        f"baseline_path: {tmp_path}/baselines\ntrain_path: {tmp_path}/run\n"
    )
    command = [sys.executable, "train_cifar.py", "--config", str(tmp_path / "tiny.yaml")]
    options = {"cwd": ROOT, "env": environment(), "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as started:
        while not started.stdout.readline().startswith("baseline 1/2"):
            assert started.poll() is None
        started.send_signal(signal.SIGINT)
        _, error = started.communicate(timeout=120)
    assert started.returncode == 130
    assert error == "train_cifar.py: stopped; finished work is kept, continue with --resume\n"

    refused = subprocess.run(command, capture_output=True, **options)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "add --resume to continue it" in refused.stderr

    resumed = subprocess.run([*command, "--resume"], capture_output=True, **options)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert "baseline 1/2" not in resumed.stdout
    assert "baseline 2/2" in resumed.stdout
    assert f"results in {tmp_path / 'run'}" in resumed.stdout
    result = json.loads((tmp_path / "run" / "results.json").read_text())

    tested = tmp_path / "tested.json"
    line = f"--trained_param {tmp_path / 'run' / 'trained.keras'} --arch ResNet-20 --dataset digits --json {tested}"
    assert evaluate([*line.split(), "--no_latency"]) == 0
    numbers = json.loads(tested.read_text())
    assert numbers["top1"] == pytest.approx(result["after_accuracy"])
    assert numbers["flops"] == result["after_flops"] < 0.9 * result["before_flops"]


@pytest.mark.filterwarnings("ignore:layer collapse")
@pytest.mark.parametrize("ticket", ["snip", pytest.param("grasp", marks=pytest.mark.slow)])
def test_tickets_of_tiny_imagenet(tmp_path, ticket):
    """Scored in batches of one image of each class and two more; the fourth is shorter."""
    tiny_imagenet_tree(tmp_path / "tiny-imagenet-200", classes=4, train=10, test=5)
    words = (
        f"--method ticket --ticket {ticket} --samples_per_class 5 --prune_batch_size 6 --density 0.3 --arch ResNet-8x2"
    )
    training = "--epochs 1 --batch_size 20 --learning_rate 0.01 --no_export"
    paths = ["--data_path", str(tmp_path), "--train_path", str(tmp_path / "run")]
    assert train_cifar(["--dataset", "tiny-imagenet", *words.split(), *training.split(), *paths]) == 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["density"] == pytest.approx(0.3, abs=1e-3)
    assert results["accuracy"] in [hits / 20 for hits in range(21)]
    assert Masks.load(tmp_path / "run/masks.npz").density == pytest.approx(0.3, abs=1e-3)
