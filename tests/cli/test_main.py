"""The `tfprune` program, as a user starts it."""

import contextlib
import dataclasses
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.models import dense_chain
from tfprune.cli import make_parser
from tfprune.cli.main import COMMANDS, PROGRAMS, main
from tfprune.recipes.catalog import configs
from tfprune.recipes.dpp import DPP_COMMANDS
from tfprune.settings import settings_of

ROOT = Path(__file__).parents[2]
DENSITY = "did you mean --density, the fraction that is kept?"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    dense_chain(6, (8, 2), activation="relu", names=("first", "last"), name="net").save(path)
    return path


def run_python(code, *words):
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_the_commands(capsys, words):
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: tfprune COMMAND [ARGUMENTS ...]\n")
    for name in (*COMMANDS, *PROGRAMS):
        assert f"\n  {name} " in shown
    prune = "prune Prunes channels and residual blocks and writes the smaller model, or single weights and writes"
    assert f"{prune} masks. " in " ".join(shown.split())
    for name in ("EKG", "Peek-a-Boo", "multi-prize tickets", "random tickets", "DPP pruning"):
        assert name in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tfprune 0.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prun"], "tfprune: error: unknown command 'prun'; did you mean prune?"),
        (["zzz"], "tfprune: error: unknown command 'zzz'; there are " + ", ".join([*COMMANDS, *PROGRAMS])),
        (
            ["inspect"],
            "tfprune inspect: error: MODEL is missing: A .keras file; or a .tflite file, whose operations are shown.",
        ),
        (["prune", "m", "--quiet"], "tfprune prune: error: unknown flag --quiet; --help lists them all"),
        (["prune", "m", "--prune-ratio", "1"], f"tfprune prune: error: unknown flag --prune-ratio; {DENSITY}"),
        (["prune", "m", "--prune_rate", "1"], f"tfprune prune: error: unknown flag --prune_rate; {DENSITY}"),
        (["prune", "--flps", "1"], "tfprune prune: error: unknown flag --flps; did you mean --flops?"),
        (
            ["inspect", "no.keras"],
            "tfprune inspect: error: expected a .keras or .tflite file, no.keras does not exist; check the path",
        ),
    ],
)
def test_mistakes_end_with_one_line(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    received = capsys.readouterr()
    assert (received.out, received.err) == ("", message + "\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_setting_has_help(name):
    text = " ".join(make_parser(COMMANDS[name], prog=name).format_help().split())
    for field in dataclasses.fields(COMMANDS[name]):
        positional = settings_of(COMMANDS[name])[field.name].positional
        assert (field.name.upper() if positional else f"--{field.name}") in text


@pytest.mark.parametrize("words", [["--help"], ["prune", "--help"], ["export", "a.keras", "b.tflite", "--int8"]])
def test_help_and_wrong_settings_need_no_tensorflow(words):
    code = "import sys\nsys.modules['tensorflow'] = sys.modules['keras'] = None\n"
    done = run_python(code + "from tfprune.cli.main import main\nsys.exit(main(sys.argv[1:]))", *words)
    assert done.returncode == (2 if "--int8" in words else 0)
    assert "--int8: the ranges of the activations" in done.stderr if "--int8" in words else done.stderr == ""


def test_python_m_tfprune_is_a_clean_program(model, tmp_path):
    small = tmp_path / "small.keras"
    words = ["prune", str(model), str(small), "--density", "0.5"]
    done = subprocess.run([sys.executable, "-m", "tfprune", *words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"wrote {small}: ")
    assert keras.saving.load_model(small).get_layer("first").units == 4


def test_flags_for_files_as_well(model, tmp_path):
    small = tmp_path / "small.keras"
    assert main(["prune", "--model", str(model), "--criterion", "l2", "--flops", "0.5", "--out", str(small)]) == 0
    assert keras.saving.load_model(small).get_layer("first").units == 4


def test_units_drawn_by_what_they_make_of_the_digits(tmp_path, capsys):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(inputs)
    x = keras.layers.Dense(12, "relu", name="fc")(keras.layers.Flatten()(x))
    path, small = tmp_path / "net.keras", tmp_path / "small.keras"
    keras.Model(inputs, keras.layers.Dense(10)(x)).save(path)
    words = ["prune", str(path), str(small), "--density", "0.5", "--scope", "local", "--data", "digits"]
    assert main([*words, "--criterion", "dpp_node", "--reweight"]) == 0
    pruned = keras.saving.load_model(small)
    assert (pruned.get_layer("conv").filters, pruned.get_layer("fc").units) == (4, 6)
    capsys.readouterr()
    assert main([*words, "--criterion", "l2", "--overwrite"]) == 2
    said = "--data: criterion l2 uses no examples; leave it out, or add --reweight or --recalibrate"
    assert capsys.readouterr().err.splitlines() == [f"tfprune prune: error: {said}"]


def test_the_console_script_is_named():
    assert '"tfprune = tfprune.cli.main:main"' in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (
            ["train_cifar", "--method", "nonsense"],
            "tfprune train_cifar: error: --method: unknown method 'nonsense'; there",
        ),
        (
            ["train_imagenet", "prune", "--x", "1"],
            "tfprune train_imagenet prune: error: unknown flag --x; --help lists",
        ),
        (["test", "--x"], "tfprune test: error: unknown flag --x; --help lists"),
    ],
)
def test_the_methods_after_an_installation(capsys, words, start):
    """The scripts of a checkout are commands as well."""
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(start)
    with pytest.raises(SystemExit):
        main([words[0], "--help"])
    assert capsys.readouterr().out.startswith(f"usage: tfprune {words[0]} ")


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("tfprune.cli", 2, "tfprune: error: unknown command 'zzz'"),
        ("tfprune.cli.main", 2, "tfprune: error: unknown command 'zzz'"),
        ("tfprune.cli.programs", 1, "this module is no program; run `tfprune train_cifar`"),
        ("tfprune.cli.train_cifar", 1, "No module named tfprune.cli.train_cifar"),
    ],
)
def test_no_module_ends_in_silence(module, code, said):
    done = subprocess.run([sys.executable, "-m", module, "zzz"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stderr


def every_help(capsys):
    """The help of the program, of its commands, and of all methods, with the name of each."""
    for words in ([], ["dpp"], ["train_imagenet", "prune"], ["train_imagenet", "train"], ["test"]):
        yield words, helped(capsys, words)
    for name in COMMANDS:
        yield [name], helped(capsys, [name])
    for name in DPP_COMMANDS:
        yield ["dpp", name], helped(capsys, ["dpp", name])
    for name in configs():
        yield [name], helped(capsys, ["train_cifar", "--method", name])
        yield [name], helped(capsys, ["train_imagenet", "--method", name])


def helped(capsys, words):
    with contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return capsys.readouterr().out


def test_every_help_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words, shown in every_help(capsys):
        assert shown.startswith("usage: "), words
        assert [line for line in shown.splitlines() if len(line) > 80] == [], words


@pytest.mark.parametrize("words", [["train_cifar"], ["train_imagenet"], ["train_cifar", "--method", "ticket"]])
def test_the_help_of_the_methods_names_all_five(capsys, words):
    shown = helped(capsys, words)
    for name in ("EKG", "Peek-a-Boo", "Multi-prize tickets", "Random tickets", "DPP pruning"):
        assert name in " ".join(shown.split())
