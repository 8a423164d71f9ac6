"""What the settings refuse, and what follows from them."""

import math

import numpy as np
import pytest

from tfprune.cli.parser import parse
from tfprune.errors import ConfigError
from tfprune.layers import subnet
from tfprune.recipes.catalog import configs
from tfprune.recipes.multiprize.config import _GAINS, MultiPrizeConfig, Policy, Scope, Selection
from tfprune.recipes.training.schedules import POLICIES

GIVEN = {"name": "run", "density": 0.2}


def test_choices_are_those_of_what_they_choose():
    assert Policy.__args__ == POLICIES
    assert (Scope.__args__, Selection.__args__) == (subnet.Scope.__args__, subnet.Selection.__args__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"density": 0.0},
            "--density: expected a value above 0 and at most 1, received 0.0",
        ),
        (
            {"density": 1.5},
            "--density: expected a value above 0 and at most 1, received 1.5",
        ),
        ({"density": math.nan}, "--density: expected a value above 0 and at most 1, received nan"),
        ({"density": None}, "--density is missing: give the fraction of the weights to keep, or --dense"),
        ({"name": None}, "--name is missing"),
        ({"name": "../up"}, "--name: expected the name of a folder, without a slash"),
        ({"name": ".."}, "--name: expected the name of a folder"),
        ({"name": ""}, "--name: expected the name of a folder"),
        ({"experiment": "a/b"}, "--experiment: expected the name of a folder"),
        ({"epochs": -1}, "--epochs: expected a value of at least 0, received -1"),
        ({"save_every": -1}, "--save_every: expected a value of at least 0"),
        ({"width_multiplier": 0.0}, "--width_multiplier: expected a value above 0"),
        ({"optimizer": "Adam"}, "--optimizer: expected sgd or adam, received Adam"),
        ({"lr_policy": "cosine_lr"}, "--lr_policy: expected constant, cosine, multistep, xnor"),
        ({"evaluate": True}, "--evaluate needs a model to measure: give it by --pretrained"),
        ({"dense": True}, "--density does nothing with --dense"),
        ({"dense": True, "density": None, "scope": "global"}, "--scope does nothing with --dense"),
        ({"dense": True, "density": None, "learn_batchnorm": True}, "--learn_batchnorm does nothing with --dense"),
        ({"dense": True, "density": None, "scale_fan": "density"}, "--scale_fan density does nothing with --dense"),
        ({"density": 1.0, "scale_fan": "sparsity"}, "--scale_fan sparsity is 0 with --density 1"),
        ({"density_ramp_epochs": 5}, "--density_ramp_epochs does nothing with --scope layer"),
        ({"density_ramp_epochs": -5}, "--density_ramp_epochs: expected a value of at least 0"),
        ({"scope": "global", "epochs": 10}, "expected fewer than all 10 epochs, .* received 10"),
        ({"scope": "global", "selection": "sampled"}, "leave out --selection sampled"),
        ({"selection": "fixed"}, "--selection fixed leaves nothing to train"),
        ({"score_init_constant": 0.0}, "--score_init_constant does nothing without --selection sampled"),
        ({"tune_batchnorm": True}, "--tune_batchnorm does nothing alone"),
        ({"learn_batchnorm": True, "bias_only": True}, "give one of them"),
        ({"learn_batchnorm": True, "batch_norm": "fixed"}, "--batch_norm fixed has no scales"),
        ({"jsd": True}, "--jsd needs changed views"),
        ({"augmix": True, "gaussian_noise": True}, "exclude each other"),
        ({"augmix_severity": 4.0}, "--augmix_severity does nothing without --augmix"),
        ({"augmix": True, "augmix_severity": 11.0}, "--augmix_severity: expected a value from 0.1 to 10"),
        ({"noise_clean": 0.5}, "--noise_clean does nothing without --gaussian_noise"),
        (
            {"gaussian_noise": True, "noise_clean": 1.0},
            "--noise_clean: expected a value of at least 0 and below 1",
        ),
        ({"optimizer": "adam", "weight_decay": 0.1}, "--weight_decay does nothing with --optimizer adam"),
        ({"lr_gamma": 0.5}, "--lr_gamma does nothing with --lr_policy cosine"),
        ({"lr_policy": "xnor", "warmup_epochs": 2}, "--warmup_epochs does nothing with --lr_policy xnor"),
        ({"warmup_epochs": 5, "epochs": 5}, "--warmup_epochs: expected fewer than all 5 epochs"),
        ({"resume": True, "overwrite": True}, "give one of them"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(ConfigError, match=message) as raised:
        MultiPrizeConfig(**GIVEN | changes)
    assert "\n" not in str(raised.value)


def test_images_on_the_disk():
    settings, kind = GIVEN | {"data_path": "there"}, configs(imagenet=True)["multiprize"]
    assert kind(**settings, augmix=True, jsd=True).stem == "large"
    for changes, message in (
        ({"fraction": 0.5}, "--fraction: expected 1"),
        ({"image_size": 0}, "--image_size"),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(**settings | changes)


def test_what_needs_no_density_or_name():
    assert MultiPrizeConfig(evaluate=True, pretrained="best.keras").kept == 1
    assert MultiPrizeConfig(dense=True, train_path="there").affine
    assert MultiPrizeConfig(density=0.7, name="a", scope="global", epochs=3).ramp_epochs == 10


def test_batch_norms_have_what_is_trained():
    for changes, affine in (
        ({}, False),
        ({"learn_batchnorm": True}, True),
        ({"bias_only": True}, True),
        ({"batch_norm": "affine"}, True),
        ({"dense": True, "density": None, "batch_norm": "fixed"}, False),
    ):
        assert MultiPrizeConfig(**GIVEN | changes).affine is affine


def test_gains_and_fans_are_golden(golden_biprop):
    shapes, rates = golden_biprop["init/shapes_OIHW"], golden_biprop["init/prune_rates"]
    scaled, unscaled = (golden_biprop[f"init/fan_in/kaiming_normal_std_{each}"] for each in ("scaled", "unscaled"))
    fans = shapes[:, 1:].prod(1)
    for column, rate in enumerate(rates):
        config = MultiPrizeConfig(name="a", density=float(rate), scale_fan="sparsity")
        np.testing.assert_allclose(config.gain / np.sqrt(fans * config.fan_scale), scaled[:, column], rtol=1e-6)
    config = MultiPrizeConfig(name="a", density=0.2)
    np.testing.assert_allclose(config.gain / np.sqrt(fans * config.fan_scale), unscaled, rtol=1e-6)


def test_the_density_scales_the_fan_so_that_the_variance_stays():
    config = MultiPrizeConfig(name="a", density=0.2, scale_fan="density")
    assert config.fan_scale == 0.2
    # a layer of variance gain^2 / (fan * 0.2) of which a fifth works
    assert config.gain**2 / config.fan_scale * config.kept == pytest.approx(_GAINS["relu"] ** 2)


def test_folder_of_a_run(tmp_path):
    file = tmp_path / "conv4_kn.yaml"
    file.write_text("method: multiprize\nname: first\n")
    config = parse(MultiPrizeConfig, ["--config", str(file), "--density", "0.2"])
    assert config.default_path == "runs/conv4_kn/density=0.2/first"
    other = parse(MultiPrizeConfig, ["--config", str(file), "--dense", "--name", "b", "--log_dir", "x/y"])
    assert other.default_path == "x/y/conv4_kn/density=1/b"
    saved = tmp_path / "settings.yaml"
    saved.write_text(f"experiment: conv4_kn\ndensity: {config.density}\n")
    again = parse(MultiPrizeConfig, ["--config", str(file), "--config", str(saved)])
    assert again.default_path == config.default_path


def test_settings_make_the_same_config():
    config = MultiPrizeConfig(**GIVEN, augmix=True, jsd=True, scope="global", train_path="there", log_dir="x")
    settings = config.settings()
    assert "evaluate" not in settings
    assert (
        MultiPrizeConfig(**settings | {"gpu_id": (0,), "plugin": (), "train_path": "there", "log_dir": "x"}) == config
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save-every", "2"], r"unknown flag --save-every; did you mean --save_every\?"),
        (["--tune-batchnorm"], r"unknown flag --tune-batchnorm; did you mean --tune_batchnorm\?"),
        (["--prune_rate", "0.2"], "unknown flag --prune_rate"),
        (["--epoch", "3"], r"unknown flag --epoch; did you mean --epochs\?"),
        (["-b", "32"], "expected a flag, received '-b'"),
        (["--density", "half"], "--density: expected a number, received 'half'"),
        (["--config", "{file}"], r"unknown setting 'save-every'; did you mean save_every\?"),
    ],
)
def test_misspelt_flags_and_keys(tmp_path, words, message):
    file = tmp_path / "a.yaml"
    file.write_text("name: a\nsave-every: 2\n")
    with pytest.raises(ConfigError, match=message):
        parse(MultiPrizeConfig, [word.format(file=file) for word in words])
