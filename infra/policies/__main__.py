"""Policy pack that the engine starts: ``pulumi preview --policy-pack infra/policies``. Nothing else may import this."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pulumi_policy import EnforcementLevel, PolicyPack

from infra.policies.pack import StackKnown, level, listen, policies

known = StackKnown()
listen(known, lambda policy: level(known, policy))
PolicyPack(name="ebbtide", policies=policies(known), enforcement_level=EnforcementLevel.MANDATORY)
