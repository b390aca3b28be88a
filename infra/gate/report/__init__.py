"""The gate's report: one document, and its formats."""
