"""The commands that use several rooms: ``plan``, ``fit``, ``catalog add``."""
