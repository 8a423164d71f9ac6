import pytest

from tests.jpeg_tree import digits_tree
from tfprune.errors import ConfigError
from tfprune.recipes.catalog import configs
from tfprune.recipes.data import ImageData, StreamedData
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.method import open_images

METHODS = configs(imagenet=True)
EKGImageNetConfig, TicketImageNetConfig = METHODS["ekg"], METHODS["ticket"]


@pytest.mark.parametrize("method", METHODS)
def test_methods_share_the_settings_of_images(method):
    own = {"name": "run", "density": 0.2} if method == "multiprize" else {}
    config = METHODS[method](data_path="images", **own)
    assert (config.method, config.dataset, config.image_size, config.resize_size) == (method, "imagenet2012", 224, 256)
    assert (config.stem, config.batch_size, config.arch) == ("large", 256, "ResNet-50")
    assert config.settings()["image_size"] == 224
    for wrong, message in (({"image_size": 0}, "--image_size"), ({"image_size": 300}, "at least image_size, 300")):
        with pytest.raises(ConfigError, match=message):
            METHODS[method](data_path="images", **own, **wrong)
    with pytest.raises(ConfigError, match="--stem: expected auto, small or large, received huge"):
        METHODS[method](data_path="images", stem="huge", **own)
    with pytest.raises(TypeError, match="data_path"):
        METHODS[method](**own)


def test_what_a_method_sets_stays():
    assert EKGImageNetConfig(data_path="images").seed == EKGConfig().seed == 1
    assert EKGImageNetConfig(data_path="images").knowledge_dtype == "float16"
    assert TicketImageNetConfig(data_path="images").schedule == (90, (30, 60))
    assert (
        TicketImageNetConfig(data_path="images").default_path == "runs/ticket/ResNet-50-imagenet2012-smart_ratio-0.02"
    )


def test_images_are_opened_where_they_are(tmp_path):
    tree = digits_tree(tmp_path / "tree", classes=2, train=2, test=1, side=32)
    data = open_images(EKGImageNetConfig(data_path=str(tree), image_size=16, resize_size=20))
    assert isinstance(data, StreamedData)
    assert (data.image_size, data.resize_size, data.num_classes, data.name) == (16, 20, 2, "tree")
    assert isinstance(open_images(EKGConfig(dataset="digits")), ImageData)
