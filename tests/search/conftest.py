"""The models and images of the recorded searches, which the tests of the recipe share."""

from tests.recipes.conftest import few_digits, float64  # noqa: F401
from tests.recipes.ekg.conftest import (  # noqa: F401
    pretrained,
    resnet20,
    resnet56,
    run_folder,
    tiny,
    validation,
    warmed_up,
)
