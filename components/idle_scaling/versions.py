"""Pinned versions of the idle-scaling engine. The charts carry the version of what they install."""

from __future__ import annotations

from typing import Final

KEDA_VERSION: Final = "2.20.2"
HTTP_ADD_ON_VERSION: Final = "0.15.0"

CHART_REPOSITORY: Final = "https://kedacore.github.io/charts"
KEDA_CHART: Final = "keda"
HTTP_ADD_ON_CHART: Final = "keda-add-ons-http"

MANIFEST_FILES: Final = ("keda.yaml", "keda-http-add-on.yaml")
"""Rendered manifests of KEDA and the add-on that ``install: manifests`` reads, in one folder."""
