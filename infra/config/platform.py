"""The place a stack runs in: the settings of one of the kinds of place, told apart by ``kind``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from components.platforms.kinds import PlaceSettings, settings_classes

if TYPE_CHECKING:
    PlatformConfig = PlaceSettings
else:
    PlatformConfig = Annotated[Union[settings_classes()], Field(discriminator="kind")]  # noqa: UP007
