"""Digests of the images that the product starts from, read from their registries where there is a network."""
