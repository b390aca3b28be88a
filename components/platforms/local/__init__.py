"""The local place: the cluster that ``ebbtide local up`` keeps on this machine."""

from components.platforms.local.platform import LocalPlatform

__all__ = ["LocalPlatform"]
