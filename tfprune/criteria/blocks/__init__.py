"""Criteria that score residual blocks: a model and its blocks in, one score per block out."""
