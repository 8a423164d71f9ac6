"""Criteria that score single weights, among them those that prune before training: a model in, masks out."""
