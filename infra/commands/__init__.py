"""The commands that use several packages: ``plan``, ``fit``, ``catalog add``."""
