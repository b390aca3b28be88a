"""The hours of the week in which a cloud may change what runs by itself, which drains nodes under running models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from components.idle_scaling.calendar import DAYS, Day, Timezone
from components.idle_scaling.clocks import winter_offset
from components.typed.fields import StackModel, integer
from components.typed.rules.file import COUNT_INVALID
from components.typed.units import TimeOfDay

# a Monday, long enough ago for every cloud, so that one stack file means the same on every day
_FIRST_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)

Hours = Annotated[int, integer(COUNT_INVALID, 4, 24, fix="give 12: from the evening to the morning")]


class MaintenanceWindow(StackModel):
    """When the cloud may upgrade the cluster and its nodes by itself, once a week; it still mends at once what cannot
    wait. The clouds follow no clock changes: in summer the window is an hour later by the clock."""

    day: Day = Field(default="sat", description="the day on which it begins, `mon` to `sun`")
    start: TimeOfDay = Field(default=TimeOfDay(20 * 60), alias="from", description="when it begins, in quotes")
    hours: Hours = Field(default=12, description="how long it lasts")
    timezone: Timezone = Field(default="UTC", description="whose clock this is")

    @property
    def first(self) -> datetime:
        """Return when the window begins for the first time, in UTC; it comes again every week."""
        minutes = self.start.minutes - winter_offset(self.timezone)
        return _FIRST_MONDAY + timedelta(days=DAYS.index(self.day), minutes=minutes)


def window(setting: MaintenanceWindow | None, environment: str) -> MaintenanceWindow | None:
    """Return the window: in production a weekend's night if none is asked for, elsewhere any time."""
    return setting or (MaintenanceWindow() if environment == "prod" else None)
