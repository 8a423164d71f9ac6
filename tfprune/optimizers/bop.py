"""Bop: training by flipping the signs of weights."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tfprune.arguments import number, truth
from tfprune.errors import ConfigError, check_choice
from tfprune.keras_private import variable_index
from tfprune.optimizers.keras_settings import checked_settings
from tfprune.optimizers.sgd import SGD
from tfprune.reprs import described

_SCHEDULE = keras.optimizers.schedules.LearningRateSchedule
_WRAPPERS = (keras.optimizers.LossScaleOptimizer, keras.optimizers.MultiOptimizer)
Variant: TypeAlias = Literal["peekaboo", "paper", "larq"]


class Rates(NamedTuple):
    """The two weights of the moving average, scalars of the weight's type: `1 - rate` and `rate`.

    Both are rounded from double precision, which is not the same as rounding the rate first.
    """

    keep: tf.Tensor
    gain: tf.Tensor


@keras.saving.register_keras_serializable(package="tfprune")
class Bop(keras.optimizers.Optimizer):
    """The binary optimizer: negates weights where the averaged gradient is strong enough, and changes nothing else.

    For a weight `w` with gradient `g`, adaptivity rate `r` and threshold `t`:

        m <- (1 - r) * m + r * g        (the first step: m <- g + r * g)
        w <- -w   where |m| >= t and sign(m) == sign(w)

    Every weight keeps the magnitude that it was initialized with. There is no learning rate and no decay. All other
    variables (norms, biases, often the classifier) are trained by a second optimizer, the companion, whose learning
    rate is this optimizer's `learning_rate`.

    Variants, which all keep magnitudes by default:

    - `"peekaboo"`: the rule above. The first step lets about half of the weights flip, and its gradient outweighs the
      later ones for about `1 / r` steps.
    - `"paper"`: `m` starts at 0 (so the first is `r * g`) and must *exceed* the threshold.
    - `"larq"`: `m <- m + r * (g - m)` from 0; flips where `w * m > t`. With weights of magnitude 1 that is the paper's
      rule up to rounding; with other magnitudes the threshold is in effect `t / |w|`.

    The originals of the last two set weights to +1 and -1: `keep_magnitudes=False`.

    `keras.optimizers.MultiOptimizer` also routes variables, but has no `learning_rate` (callbacks and logs that read it
    fail), and can be saved only with patterns of paths, while here masked kernels are found by a mark.

    Args:
        adaptivity_rate: In (0, 1), or a schedule such as `training.PeriodicDecay`; evaluated in double precision.
        threshold: Flip only where the average reaches this; at least 0.
        companion: For all other variables. Default: `SGD(0.1, momentum=0.9, weight_decay=5e-4, momentum_form="torch")`.
        sign_trained: `fnmatch` patterns of the paths of the variables to train by sign; None for the kernels of masked
            layers.
        variant: `"peekaboo"`, `"paper"` or `"larq"`.
        keep_magnitudes: False sets weights to +1 and -1 (from the first step on; zeros become +1).
        clipnorm: As in all Keras optimizers.
        clipvalue: As in all Keras optimizers.
        global_clipnorm: As in all Keras optimizers; over all gradients, the companion's too.
        loss_scale_factor: As in all Keras optimizers.
        gradient_accumulation_steps: As in all Keras optimizers; the companion steps when this optimizer does.
        name: Of the optimizer.

    Raises:
        ConfigError: If a setting is out of its range, the companion cannot be one, or (once the variables are known) no
            variable is to be trained by sign.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> bop = Bop(0.1, threshold=0.0, sign_trained=["*/kernel"])
        >>> before = abs(model.layers[0].kernel.numpy())
        >>> model.compile(bop, "mse")
        >>> _ = model.fit(tf.ones((4, 2)), tf.ones(4), verbose=0)
        >>> bool((abs(model.layers[0].kernel.numpy()) == before).all()), int(bop.flips) == int(bop.total_flips)
        (True, True)

    Reference:
        Peek-a-Boo (Chen et al., ICLR 2022), the original's `Bop.step`. Helwegen et al., "Latent Weights Do Not Exist:
        Rethinking Binarized Neural Network Optimization", NeurIPS 2019, Algorithm 1. larq, `lq.optimizers.Bop`.
    """

    def __init__(
        self,
        adaptivity_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        threshold: float = 1e-6,
        companion: keras.optimizers.Optimizer | None = None,
        sign_trained: Sequence[str] | None = None,
        variant: Variant = "peekaboo",
        keep_magnitudes: bool = True,
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "bop",
    ) -> None:
        _check(adaptivity_rate, sign_trained, variant)
        super().__init__(
            # Keras insists on a rate; nothing reads this one.
            learning_rate=lambda: 0.0,
            **checked_settings(
                {
                    "clipnorm": clipnorm,
                    "clipvalue": clipvalue,
                    "global_clipnorm": global_clipnorm,
                    "loss_scale_factor": loss_scale_factor,
                    "gradient_accumulation_steps": gradient_accumulation_steps,
                    "name": name,
                }
            ),
        )
        self.adaptivity_rate = adaptivity_rate if isinstance(adaptivity_rate, _SCHEDULE) else float(adaptivity_rate)
        self.threshold = number("threshold", threshold, at_least=0)
        self.sign_trained = None if sign_trained is None else tuple(sign_trained)
        self.variant = variant
        self.keep_magnitudes = truth("keep_magnitudes", keep_magnitudes)
        if companion is None:
            companion = SGD(0.1, momentum=0.9, weight_decay=5e-4, momentum_form="torch")
        _check_companion(companion)
        self.companion = companion

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the averages of the sign-trained variables, counters of flips, and the companion's variables.

        Raises:
            ConfigError: If no variable is to be trained by sign.
        """
        if self.built:
            return
        variables = list(variables)
        chosen = sign_trained_variables(variables, self.sign_trained)
        super().build(variables)
        signs = [variable for variable, by_sign in zip(variables, chosen, strict=True) if by_sign]
        self._place = {index: place for place, index in enumerate(i for i, by_sign in enumerate(chosen) if by_sign)}
        self.averages = [self.add_variable_from_reference(variable, name="average") for variable in signs]
        # Scalars rather than one vector: state then belongs to one weight, or to none (see `keep_optimizer`).
        self._flips = [self._counter(f"flips_{place}") for place in range(len(signs))]
        self._flips_before = self._counter("flips_before")
        self._paths = tuple(variable.path for variable in signs)
        self.companion.build([variable for variable, by_sign in zip(variables, chosen, strict=True) if not by_sign])

    def fitting(self, variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
        """Returns the optimizer for these variables: this one, or its companion if none of them is a masked kernel."""
        signs = self.sign_trained is not None or any(getattr(variable, "masked", False) for variable in variables)
        return self if signs else self.companion

    @property
    def variables(self) -> list[keras.Variable]:
        """All state, the companion's at the end."""
        return [*super().variables, *self.companion.variables]

    @property
    def learning_rate(self) -> Any:
        """The companion's learning rate."""
        return self.companion.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.companion.learning_rate = value

    @property
    def total_flips(self) -> tf.Tensor:
        """Number of signs changed so far, or since `reset_flips`; an int64 scalar."""
        return tf.add_n([tf.convert_to_tensor(count) for count in self._flips])

    @property
    def flips(self) -> tf.Tensor:
        """Number of signs that the last step changed, an int64 scalar."""
        return self.total_flips - tf.convert_to_tensor(self._flips_before)

    @property
    def flips_by_variable(self) -> dict[str, int]:
        """Number of signs changed so far, or since `reset_flips`, by the path of the variable."""
        return {path: int(tf.convert_to_tensor(count)) for path, count in zip(self._paths, self._flips, strict=True)}

    @property
    def last_adaptivity_rate(self) -> tf.Tensor:
        """Adaptivity rate of the last step, before it that of the first one; a float64 scalar."""
        return self._rate(tf.maximum(tf.convert_to_tensor(self.iterations) - 1, 0))

    def reset_flips(self) -> None:
        """Begins to count flips again: `total_flips` and `flips_by_variable` become 0, `flips` stays."""
        self._flips_before.assign(-self.flips)
        for count in self._flips:
            count.assign(0)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Updates the average and the signs of one sign-trained variable."""
        place = self._place[variable_index(self, variable)]
        weight = tf.convert_to_tensor(variable)
        average = next_average(
            self.variant,
            tf.convert_to_tensor(self.averages[place]),
            tf.cast(gradient, weight.dtype),
            self._rates(weight.dtype),
            tf.equal(tf.convert_to_tensor(self.iterations), 0),
        )
        flipped = flips(self.variant, weight, average, self.threshold)
        new_weight = tf.where(flipped, -weight, weight)
        if not self.keep_magnitudes:
            new_weight = tf.where(new_weight >= 0, tf.ones_like(weight), -tf.ones_like(weight))
        self.assign(self.averages[place], average)
        self.assign(variable, new_weight)
        self.assign_add(self._flips[place], tf.math.count_nonzero(flipped, dtype=tf.int32))

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Lets the companion set final values, such as moving averages."""
        self.companion.finalize_variable_values([v for v in var_list if variable_index(self, v) not in self._place])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        rate = self.adaptivity_rate
        return {
            "adaptivity_rate": keras.saving.serialize_keras_object(rate) if isinstance(rate, _SCHEDULE) else rate,
            "threshold": self.threshold,
            "companion": keras.saving.serialize_keras_object(self.companion),
            "sign_trained": None if self.sign_trained is None else list(self.sign_trained),
            "variant": self.variant,
            "keep_magnitudes": self.keep_magnitudes,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "Bop":
        """Makes an optimizer from `get_config`."""
        made = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("adaptivity_rate", "companion")
        }
        return cls(**{**config, **made})

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """Passes each gradient to its optimizer. Keras calls this after unscaling, clipping, accumulating."""
        self._flips_before.assign(self.total_flips)
        pairs = list(zip(grads, trainable_variables, strict=True))
        signs = [pair for pair in pairs if variable_index(self, pair[1]) in self._place]
        others = [pair for pair in pairs if variable_index(self, pair[1]) not in self._place]
        if signs:
            super()._backend_update_step(*zip(*signs, strict=True), learning_rate)
        if others:
            self.companion.apply(*zip(*others, strict=True))
        else:
            self.companion.iterations.assign_add(1)

    def _rate(self, step: tf.Tensor | keras.Variable) -> tf.Tensor:
        schedule = self.adaptivity_rate
        rate = schedule(step) if isinstance(schedule, _SCHEDULE) else tf.constant(schedule, tf.float64)
        return tf.cast(rate, tf.float64)

    def _rates(self, dtype: tf.DType) -> Rates:
        rate = self._rate(self.iterations)
        return Rates(tf.cast(1.0 - rate, dtype), tf.cast(rate, dtype))

    def _counter(self, name: str) -> keras.Variable:
        return self.add_variable((), dtype="int64", aggregation="only_first_replica", name=name)


def _check(rate: Any, patterns: Any, variant: Any) -> None:
    with tf.init_scope():
        first = number("adaptivity_rate", float(rate(0)) if isinstance(rate, _SCHEDULE) else rate)
    if not 0 < first < 1:
        raise ConfigError(f"adaptivity_rate: expected a value between 0 and 1 (both excluded), received {first}")
    texts = isinstance(patterns, list | tuple) and patterns and all(isinstance(each, str) for each in patterns)
    if patterns is not None and not texts:
        raise ConfigError(
            f'sign_trained: expected None or patterns such as ["*/kernel"], received {described(patterns)}'
        )
    check_choice("variant", variant, Variant)


def _check_companion(companion: Any) -> None:
    if not isinstance(companion, keras.optimizers.Optimizer) or isinstance(companion, (*_WRAPPERS, Bop)):
        raise ConfigError(
            f"companion: expected a Keras optimizer of its own, received {type(companion).__name__}; wrap Bop rather "
            "than the companion"
        )
    for setting in ("loss_scale_factor", "gradient_accumulation_steps"):
        if getattr(companion, setting):
            raise ConfigError(
                f"companion: expected no {setting}, received {getattr(companion, setting)}; give it to Bop"
            )


def next_average(
    variant: Variant, average: tf.Tensor, gradient: tf.Tensor, rates: Rates, first_step: tf.Tensor
) -> tf.Tensor:
    """Computes the moving average of the gradient after one more gradient.

    Args:
        variant: `"peekaboo"` starts at `(1 + rate) * gradient`, the others at `rate * gradient`.
        average: The average before, zeros at the start; the shape and type of the weight.
        gradient: The gradient, in the same shape and type.
        rates: Scalars.
        first_step: Bool scalar, whether this is the first gradient ever; only `"peekaboo"` uses it.

    Returns:
        The new average.

    Example:
        >>> rates = Rates(tf.constant(0.75), tf.constant(0.25))
        >>> start, gradient = tf.zeros(1), tf.ones(1)
        >>> float(next_average("paper", start, gradient, rates, tf.constant(True))[0])
        0.25
        >>> float(next_average("peekaboo", start, gradient, rates, tf.constant(True))[0])
        1.25
    """
    if variant == "larq":
        return average + rates.gain * (gradient - average)
    if variant == "paper":
        return rates.keep * average + rates.gain * gradient
    # The original adds in this order: the products are rounded before the sum.
    kept = tf.cond(first_step, lambda: gradient, lambda: rates.keep * average)
    return kept + rates.gain * gradient


def flips(variant: Variant, weight: tf.Tensor, average: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns which weights change their sign.

    Args:
        variant: `"peekaboo"`: `|average| >= threshold` and equal signs (that of 0 is 0, so with the threshold 0 exact
            zeros count as flipped, to no effect). `"paper"`: the same with `>`. `"larq"`: `weight * average >
            threshold`, which multiplies the average by the weight's magnitude.
        weight: Of any shape.
        average: The moving average of its gradient.
        threshold: At least 0.

    Returns:
        Bool, of the shape of the weight.

    Example:
        >>> flips("peekaboo", tf.constant([2.0, -2.0]), tf.constant([0.5, 0.5]), 0.5).numpy().tolist()
        [True, False]
        >>> flips("paper", tf.constant([2.0, -2.0]), tf.constant([0.5, 0.5]), 0.5).numpy().tolist()
        [False, False]

    Reference:
        Peek-a-Boo: `Bop.step` of the original. Paper: Helwegen et al., "Latent Weights Do Not Exist: Rethinking
        Binarized Neural Network Optimization", NeurIPS 2019, Algorithm 1. larq: `lq.optimizers.Bop`.
    """
    if variant == "larq":
        return weight * average > threshold
    # |average| where the signs are equal, elsewhere 0 or negative.
    agreeing = tf.sign(weight) * average
    if variant == "paper":
        return agreeing > threshold
    if weight.dtype.as_numpy_dtype(threshold) > 0:
        return agreeing >= threshold
    return tf.sign(weight) == tf.sign(average)


def sign_trained_variables(variables: Sequence[keras.Variable], patterns: Sequence[str] | None) -> list[bool]:
    """Decides for each variable whether its sign is trained.

    Args:
        variables: Trainable variables of a model.
        patterns: Of variable paths, as `fnmatch` reads them (`"*/kernel"`, `"block1.*"`); None takes the kernels of
            masked layers, which have an attribute `masked`.

    Returns:
        A bool for each variable.

    Raises:
        ConfigError: If a pattern matches nothing, or no variable is left.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="fc")])
        >>> sign_trained_variables(model.trainable_variables, ["*/kernel"])
        [True, False]
    """
    if patterns is None:
        marked = [bool(getattr(variable, "masked", False)) for variable in variables]
        if not any(marked):
            raise ConfigError(
                f"sign_trained: expected kernels of masked layers among {_some_paths(variables)}, received none; "
                'convert the model to masked layers, or name the variables, as in sign_trained=["*/kernel"]'
            )
        return marked
    for pattern in patterns:
        if not any(fnmatchcase(variable.path, pattern) for variable in variables):
            raise ConfigError(
                f"sign_trained: expected patterns of variable paths, received {pattern!r}, which matches none of "
                f"{_some_paths(variables)}; a path consists of the names of model, layer and variable"
            )
    return [any(fnmatchcase(variable.path, pattern) for pattern in patterns) for variable in variables]


def _some_paths(variables: Sequence[keras.Variable]) -> str:
    paths = [variable.path for variable in variables]
    return ", ".join(paths[:3]) + (f", ... ({len(paths)} variables)" if len(paths) > 3 else "")
