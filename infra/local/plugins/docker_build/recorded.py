"""Images in a rehearsal: checked and given a digest, neither built nor pushed, since their registry is not there.

Only with ``images`` among what the rehearsal records (see `infra.local.plugins.rehearsal`). The digest follows from
what would go into the build, so that the same image stays the same.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from infra.local.plugins.docker_build import registry
from infra.local.plugins.docker_build.provider import DockerBuildStandIn, context_hash
from infra.local.plugins.plugin import Call


class RecordedImages(DockerBuildStandIn):
    """The docker-build stand-in, which builds nothing."""

    def read(
        self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        return outputs, inputs

    def _built(self, call: Call, given: dict[str, Any]) -> tuple[str, str]:
        self.engine.log("info", call.urn, "rehearsal: the image is neither built nor pushed, its digest is made up")
        told = json.dumps([given.get("tags"), given.get("buildArgs"), context_hash(given)], sort_keys=True)
        digest = f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"
        tags = given.get("tags") or []
        return digest, f"{registry.repository(tags[0])}@{digest}" if tags else ""
