"""Criteria that score channels: a model and its channel groups in, one score per channel out."""
