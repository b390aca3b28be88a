"""The docker-build provider: an image is its inputs plus a hash of what goes into the build."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

from infra.gate.replacement.differences import UNKNOWN, Change, Difference, compare
from lab.plugins.docker_build import context, registry
from lab.plugins.docker_build.buildah import Build, Buildah
from lab.plugins.plugin import Call, Checked, Naming, RefusedError, StandIn, Values
from lab.plugins.properties import has_unknown, plain

TOKEN = "docker-build:index:Image"  # noqa: S105
_REFUSED = {
    "exports": "use push: true with tags",
    "ssh": "copy what is needed into the context, or use secrets",
    "load": "there is no Docker engine to load into; use push: true",
}
_SAME_IMAGE = (
    ("registries",), ("context",), ("dockerfile",), ("buildOnPreview",), ("builder",), ("exec",), ("cacheFrom",),
    ("cacheTo",), ("ignoreSecretsInDiffCalculation",),
)  # fmt: skip
"""Inputs whose change cannot change the image: how it is reached, where it is built. Contents are compared by hash."""
_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


class DockerBuildStandIn(StandIn):
    """Provider that builds and pushes images."""

    version = "0.0.22+stand-in"

    def check(self, call: Call, olds: Values, news: Values, naming: Naming) -> Checked:
        if call.type != TOKEN:
            return news, [("", f"{call.type} is not offered by the docker-build stand-in; it has {TOKEN}")]
        return news, refusals(plain(news))

    def diff(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Difference:
        new = plain(news)
        changes = compare(plain(old_inputs), new, ignored=_SAME_IMAGE)
        known = not has_unknown(new.get("context")) and not has_unknown(new.get("dockerfile"))
        if known and context_hash(new) != plain(olds).get("contextHash"):
            changes += (Change(("contextHash",), "UPDATE"),)
        return Difference(changes)

    def create(self, call: Call, inputs: Values) -> tuple[str, Values]:
        outputs = self._outputs(call, inputs)
        return str(plain(outputs).get("digest") or ""), outputs

    def update(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Values:
        return self._outputs(call, news)

    def read(self, call: Call, outputs: Values, inputs: Values) -> tuple[Values, Values] | None:
        """Return None when the registry says it no longer has the digest; unchanged values when it says nothing."""
        plain_inputs, known = plain(inputs), plain(outputs)
        if plain_inputs.get("push") and known.get("digest"):
            logins = _credentials(plain_inputs)
            if any(registry.has(tag, known["digest"], logins) is False for tag in plain_inputs.get("tags") or []):
                return None
        return outputs, inputs

    def _outputs(self, call: Call, inputs: Values) -> Values:
        plain_inputs = plain(inputs)
        later = {**inputs, "digest": UNKNOWN, "ref": UNKNOWN, "contextHash": UNKNOWN}
        if has_unknown(plain_inputs):
            return later
        later["contextHash"] = context_hash(plain_inputs)
        if call.preview and not plain_inputs.get("buildOnPreview"):
            return later
        digest, ref = self._built(call, plain_inputs)
        return later if call.preview else {**later, "digest": digest, "ref": ref}

    def _built(self, call: Call, inputs: Values) -> tuple[str, str]:
        """Build the image, push it where the program says so and this is no preview; return digest and reference.

        Without a push they are the local image's id and the first tag.
        """
        here, dockerfile = _source(inputs)
        buildah = Buildah(lambda line: self._tell(call, line), self.cancelled)
        image = buildah.build(_build(inputs, here, dockerfile))
        tags = inputs.get("tags") or []
        if call.preview or not inputs.get("push"):
            return image, tags[0] if tags else ""
        digests = [buildah.push(image, tag, _credentials(inputs)) for tag in tags]
        return digests[0], f"{registry.repository(tags[0])}@{digests[0]}"

    def _tell(self, call: Call, line: str) -> None:
        self.engine.status(call.urn, line)


def refusals(inputs: Values) -> list[tuple[str, str]]:
    """Return every input that this stand-in cannot honour, as (property, reason and way out)."""
    refused = [
        (name, f"not offered by the docker-build stand-in: {fix}") for name, fix in _REFUSED.items() if inputs.get(name)
    ]
    native = _MACHINES.get(platform.machine(), f"linux/{platform.machine()}")
    foreign = [item for item in inputs.get("platforms") or [] if item not in (native, UNKNOWN)]
    if foreign:
        refused.append(("platforms", f"{', '.join(foreign)}: this machine builds {native} only"))
    if inputs.get("push") and not inputs.get("tags"):
        refused.append(("tags", "missing: push: true needs at least one tag, host/name:tag"))
    dockerfile = inputs.get("dockerfile") or {}
    if dockerfile is not UNKNOWN and dockerfile.get("location") and dockerfile.get("inline"):
        refused.append(("dockerfile", "has both location and inline; leave one out"))
    where = (inputs.get("context") or {}).get("location") if inputs.get("context") is not UNKNOWN else None
    if isinstance(where, str) and "://" in where:
        refused.append(("context.location", f"{where}: only folders on this machine"))
    if isinstance(inputs.get("context"), dict) and inputs["context"].get("named"):
        refused.append(("context.named", "not offered by the docker-build stand-in: put the files into the context"))
    return refused


def context_hash(inputs: Values) -> str:
    """Return one hash of everything that goes into the build."""
    return context.digest_of(*_source(inputs))


def _source(inputs: Values) -> tuple[Path, str]:
    """Return the context's folder and the Dockerfile's text; relative paths count from the program.

    The real provider does the same. Raises `RefusedError` for a Dockerfile that cannot be read.
    """
    here = Path((inputs.get("context") or {}).get("location") or ".").absolute()
    choice = inputs.get("dockerfile") or {}
    if choice.get("inline"):
        return here, str(choice["inline"])
    path = Path(choice["location"]).absolute() if choice.get("location") else here / "Dockerfile"
    try:
        return here, path.read_text()
    except OSError as error:
        raise RefusedError(f"dockerfile.location: {path} cannot be read ({error.strerror})") from None


def _build(inputs: Values, here: Path, dockerfile: str) -> Build:
    return Build(
        context=here,
        dockerfile=dockerfile,
        tags=tuple(inputs.get("tags") or ()),
        arguments=inputs.get("buildArgs"),
        labels=inputs.get("labels"),
        secrets=inputs.get("secrets"),
        hosts=tuple(inputs.get("addHosts") or ()),
        target=inputs.get("target"),
        network=inputs.get("network"),
        no_cache=bool(inputs.get("noCache")),
        pull=bool(inputs.get("pull")),
    )


def _credentials(inputs: Values) -> dict[str, tuple[str, str]]:
    return {
        item["address"].removeprefix("https://").removeprefix("http://").split("/", 1)[0]: (
            item.get("username") or "",
            item.get("password") or "",
        )
        for item in inputs.get("registries") or []
        if item.get("username")
    }


# Images in a rehearsal (see `lab.plugins.rehearsal`): checked and given a digest, neither built nor pushed, since their
# registry is not there. The digest is derived from what would go into the build, so that the same image keeps it.


class RecordedImages(DockerBuildStandIn):
    """Docker-build stand-in that builds nothing."""

    def read(self, call: Call, outputs: Values, inputs: Values) -> tuple[Values, Values] | None:
        return outputs, inputs

    def _built(self, call: Call, inputs: Values) -> tuple[str, str]:
        self.engine.log("info", call.urn, "rehearsal: the image is neither built nor pushed, its digest is made up")
        recipe = json.dumps([inputs.get("tags"), inputs.get("buildArgs"), context_hash(inputs)], sort_keys=True)
        digest = f"sha256:{hashlib.sha256(recipe.encode()).hexdigest()}"
        tags = inputs.get("tags") or []
        return digest, f"{registry.repository(tags[0])}@{digest}" if tags else ""
