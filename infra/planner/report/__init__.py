"""A plan as plain data, and its output formats."""
