"""Data sets of images, in memory or on disk, their subsets, and batches of them."""

from tfprune.data.fixed_batches import fixed_batches
from tfprune.data.image_data import ImageData
from tfprune.data.image_dataset import ImageDataset
from tfprune.data.open_data import open_data
from tfprune.data.prune_set import prune_set
from tfprune.data.registry import data_names, load_data
from tfprune.data.search_subsets import Subsets, search_subsets
from tfprune.data.streamed_data import StreamedData
from tfprune.data.training_batches import training_batches

__all__ = [
    "ImageData",
    "ImageDataset",
    "StreamedData",
    "Subsets",
    "data_names",
    "fixed_batches",
    "load_data",
    "open_data",
    "prune_set",
    "search_subsets",
    "training_batches",
]
