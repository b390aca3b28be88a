"""A cluster that somebody else runs, named by its kubeconfig and context."""

from components.platforms.existing.platform import ExistingPlatform, ExistingSettings

__all__ = ["ExistingPlatform", "ExistingSettings"]
