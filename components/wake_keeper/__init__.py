"""The wake keeper: ends a wake that cannot succeed and says why."""

from components.wake_keeper.keeper import WakeKeeper
from components.wake_keeper.settings import KeeperSettings, KeptModel

__all__ = ["KeeperSettings", "KeptModel", "WakeKeeper"]
