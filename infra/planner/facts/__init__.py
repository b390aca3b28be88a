"""Facts about a model, found without loading it, and where they come from."""
