"""The stack file's classes."""
