"""What is known of a model without loading it, and where that comes from."""
