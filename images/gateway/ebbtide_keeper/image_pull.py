"""Failed pulls of an image, told from the kubelet's own text: which can never succeed, and which may yet. Pure.

The text is the runtime's error, behind "Back-off pulling image …" while the kubelet waits for its next try. With
several credentials it is a list of errors, one for each. Texts: kubelet 1.34 (pkg/kubelet/images), containerd
1.7 and 2 (core/remotes/docker, client/pull.go), CRI-O (containers/image), the distribution API's error codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Outcome = Literal["never", "denied", "maybe"]
"""``never``: no try will succeed. ``denied``: no try will, unless its node's rights are still on their way."""

WAITS: Final[Mapping[str, Outcome | None]] = MappingProxyType(
    {
        "InvalidImageName": "never",
        "ErrImageNeverPull": "never",
        "SignatureValidationFailed": "never",
        "RegistryUnavailable": "maybe",
        "ImageInspectError": "maybe",
        "ErrImagePull": None,  # None: its text decides
        "ImagePullBackOff": None,
    }
)
"""Reasons for which a container waits for its image."""

_QUOTED = re.compile(r'"[^"]*"|https?://\S+?(?=:?(?:\s|$))')  # names and addresses may hold any word
_NEXT_ERROR = re.compile(r", (?=rpc error: |failed to pull )")
_NEVER = re.compile(
    r"failed to (?:resolve reference|resolve image|pull and unpack image)\s*:\s*\S+: not found"
    r"|manifest unknown|name unknown|repository name not known to registry"
    r"|no match for platform in manifest|no image found in (?:manifest list|image index)"
    r"|invalid reference format|invalid checksum digest",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"pull access denied|access to the resource is denied|authentication required|no basic auth credentials"
    r"|\b401 Unauthorized|\b403 Forbidden|\b(?:denied|unauthorized): |invalid username/password",
    re.IGNORECASE,
)


def outcome(reason: str, text: str) -> Outcome | None:
    """Return what a container that waits for ``reason`` can expect; None if it does not wait for its image."""
    if reason not in WAITS:
        return None
    return WAITS[reason] or outcome_of_text(text)


def outcome_of_text(text: str) -> Outcome:
    """Return what an error leaves to hope for: most of a list's errors come from trying without the right key."""
    outcomes = {_outcome_of_error(error) for error in _NEXT_ERROR.split(_QUOTED.sub("", text))}
    return "never" if "never" in outcomes else "maybe" if "maybe" in outcomes else "denied"


def _outcome_of_error(error: str) -> Outcome:
    return "never" if _NEVER.search(error) else "denied" if _DENIED.search(error) else "maybe"
