"""Data sets of images, in memory or on disk, their subsets and batches.

`load_data` loads a small data set by name, `open_data` opens images on disk; both return an `ImageDataset`, which
returns the batches that a `BatchRequest` describes.
"""

from tfprune.recipes.data.augmix import AugMix
from tfprune.recipes.data.dataset import BatchRequest, ImageDataset, PruneBatches
from tfprune.recipes.data.in_memory import ImageData, data_fraction, fixed_batches, random_labels, shuffled_pixels
from tfprune.recipes.data.knowledge import ShardedRows
from tfprune.recipes.data.loading import data_names, load_data, open_data, register_data
from tfprune.recipes.data.streamed import StreamedData
from tfprune.recipes.data.subsets import Subsets, search_subsets
from tfprune.recipes.data.views import GaussianNoise, View

__all__ = [
    "AugMix",
    "BatchRequest",
    "GaussianNoise",
    "ImageData",
    "ImageDataset",
    "PruneBatches",
    "ShardedRows",
    "StreamedData",
    "Subsets",
    "View",
    "data_fraction",
    "data_names",
    "fixed_batches",
    "load_data",
    "open_data",
    "random_labels",
    "register_data",
    "search_subsets",
    "shuffled_pixels",
]
