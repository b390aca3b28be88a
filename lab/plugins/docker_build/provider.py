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
        given = plain(news)
        changes = compare(plain(old_inputs), given, ignored=_SAME_IMAGE)
        known = not has_unknown(given.get("context")) and not has_unknown(given.get("dockerfile"))
        if known and context_hash(given) != plain(olds).get("contextHash"):
            changes += (Change(("contextHash",), "UPDATE"),)
        return Difference(changes)

    def create(self, call: Call, inputs: Values) -> tuple[str, Values]:
        outputs = self._made(call, inputs)
        return str(plain(outputs).get("digest") or ""), outputs

    def update(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Values:
        return self._made(call, news)

    def read(self, call: Call, outputs: Values, inputs: Values) -> tuple[Values, Values] | None:
        """Return None when the registry says it no longer has the digest; unchanged values when it says nothing."""
        given, known = plain(inputs), plain(outputs)
        if given.get("push") and known.get("digest"):
            logins = _credentials(given)
            if any(registry.has(tag, known["digest"], logins) is False for tag in given.get("tags") or []):
                return None
        return outputs, inputs

    def _made(self, call: Call, inputs: Values) -> Values:
        given = plain(inputs)
        later = {**inputs, "digest": UNKNOWN, "ref": UNKNOWN, "contextHash": UNKNOWN}
        if has_unknown(given):
            return later
        later["contextHash"] = context_hash(given)
        if call.preview and not given.get("buildOnPreview"):
            return later
        digest, ref = self._built(call, given)
        return later if call.preview else {**later, "digest": digest, "ref": ref}

    def _built(self, call: Call, given: Values) -> tuple[str, str]:
        """Build the image, push it where the program says so and this is no preview; return digest and reference.

        Without a push they are the local image's id and the first tag.
        """
        here, dockerfile = _source(given)
        buildah = Buildah(lambda line: self._tell(call, line), self.cancelled)
        image = buildah.build(_build(given, here, dockerfile))
        tags = given.get("tags") or []
        if call.preview or not given.get("push"):
            return image, tags[0] if tags else ""
        digests = [buildah.push(image, tag, _credentials(given)) for tag in tags]
        return digests[0], f"{registry.repository(tags[0])}@{digests[0]}"

    def _tell(self, call: Call, line: str) -> None:
        self.engine.status(call.urn, line)


def refusals(given: Values) -> list[tuple[str, str]]:
    """Return every input that this stand-in cannot honour, as (property, reason and way out)."""
    found = [
        (name, f"not offered by the docker-build stand-in: {fix}") for name, fix in _REFUSED.items() if given.get(name)
    ]
    native = _MACHINES.get(platform.machine(), f"linux/{platform.machine()}")
    foreign = [item for item in given.get("platforms") or [] if item not in (native, UNKNOWN)]
    if foreign:
        found.append(("platforms", f"{', '.join(foreign)}: this machine builds {native} only"))
    if given.get("push") and not given.get("tags"):
        found.append(("tags", "missing: push: true needs at least one tag, host/name:tag"))
    dockerfile = given.get("dockerfile") or {}
    if dockerfile is not UNKNOWN and dockerfile.get("location") and dockerfile.get("inline"):
        found.append(("dockerfile", "has both location and inline; leave one out"))
    where = (given.get("context") or {}).get("location") if given.get("context") is not UNKNOWN else None
    if isinstance(where, str) and "://" in where:
        found.append(("context.location", f"{where}: only folders on this machine"))
    if isinstance(given.get("context"), dict) and given["context"].get("named"):
        found.append(("context.named", "not offered by the docker-build stand-in: put the files into the context"))
    return found


def context_hash(given: Values) -> str:
    """Return one hash of everything that goes into the build."""
    return context.digest_of(*_source(given))


def _source(given: Values) -> tuple[Path, str]:
    """Return the context's folder and the Dockerfile's text; relative paths count from the program.

    The real provider does the same. Raises `RefusedError` for a Dockerfile that cannot be read.
    """
    here = Path((given.get("context") or {}).get("location") or ".").absolute()
    choice = given.get("dockerfile") or {}
    if choice.get("inline"):
        return here, str(choice["inline"])
    path = Path(choice["location"]).absolute() if choice.get("location") else here / "Dockerfile"
    try:
        return here, path.read_text()
    except OSError as error:
        raise RefusedError(f"dockerfile.location: {path} cannot be read ({error.strerror})") from None


def _build(given: Values, here: Path, dockerfile: str) -> Build:
    return Build(
        context=here,
        dockerfile=dockerfile,
        tags=tuple(given.get("tags") or ()),
        arguments=given.get("buildArgs"),
        labels=given.get("labels"),
        secrets=given.get("secrets"),
        hosts=tuple(given.get("addHosts") or ()),
        target=given.get("target"),
        network=given.get("network"),
        no_cache=bool(given.get("noCache")),
        pull=bool(given.get("pull")),
    )


def _credentials(given: Values) -> dict[str, tuple[str, str]]:
    return {
        item["address"].removeprefix("https://").removeprefix("http://").split("/", 1)[0]: (
            item.get("username") or "",
            item.get("password") or "",
        )
        for item in given.get("registries") or []
        if item.get("username")
    }


# Images in a rehearsal (see `lab.plugins.rehearsal`): checked and given a digest, neither built nor pushed, since their
# registry is not there. The digest is derived from what would go into the build, so that the same image keeps it.


class RecordedImages(DockerBuildStandIn):
    """Docker-build stand-in that builds nothing."""

    def read(self, call: Call, outputs: Values, inputs: Values) -> tuple[Values, Values] | None:
        return outputs, inputs

    def _built(self, call: Call, given: Values) -> tuple[str, str]:
        self.engine.log("info", call.urn, "rehearsal: the image is neither built nor pushed, its digest is made up")
        told = json.dumps([given.get("tags"), given.get("buildArgs"), context_hash(given)], sort_keys=True)
        digest = f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"
        tags = given.get("tags") or []
        return digest, f"{registry.repository(tags[0])}@{digest}" if tags else ""
