"""What the engine starts: ``pulumi preview --policy-pack infra/policies``. Nothing else may import this."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pulumi_policy import EnforcementLevel, PolicyPack

from infra.policies.engine_config import StackKnown, listen
from infra.policies.pack import level, policies

known = StackKnown()
listen(known, lambda policy: level(known, policy))
PolicyPack(name="ebbtide", policies=policies(known), enforcement_level=EnforcementLevel.MANDATORY)
