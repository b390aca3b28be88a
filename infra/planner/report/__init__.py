"""A plan as plain data, and its forms."""
