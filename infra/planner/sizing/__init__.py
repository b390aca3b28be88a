"""Whether a model fits a GPU, and how well. Pure."""
