"""Digests of the images that the product starts from, read off their registries by whoever has a network."""
