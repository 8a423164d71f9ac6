"""`tfprune sanity`, which is a reproduction: see `tfprune.recipes.sanity`."""

from tfprune.recipes.sanity import run

__all__ = ["run"]
