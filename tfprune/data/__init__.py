"""Data sets of images, in memory or on disk, their subsets, and batches of them."""

from tfprune.data.augmix import AugMix
from tfprune.data.data_fraction import data_fraction
from tfprune.data.fixed_batches import fixed_batches
from tfprune.data.gaussian_noise import GaussianNoise
from tfprune.data.image_data import ImageData
from tfprune.data.image_dataset import ImageDataset
from tfprune.data.open_data import open_data
from tfprune.data.prune_set import prune_set
from tfprune.data.random_labels import random_labels
from tfprune.data.registry import data_names, load_data
from tfprune.data.search_subsets import Subsets, search_subsets
from tfprune.data.sharded_rows import ShardedRows
from tfprune.data.shuffled_pixels import shuffled_pixels
from tfprune.data.streamed_data import StreamedData
from tfprune.data.training_batches import training_batches
from tfprune.data.view import View

__all__ = [
    "AugMix",
    "GaussianNoise",
    "ImageData",
    "ImageDataset",
    "ShardedRows",
    "StreamedData",
    "Subsets",
    "View",
    "data_fraction",
    "data_names",
    "fixed_batches",
    "load_data",
    "open_data",
    "prune_set",
    "random_labels",
    "search_subsets",
    "shuffled_pixels",
    "training_batches",
]
