"""Fit of a model on a GPU: whether it fits, and how well. Pure."""
