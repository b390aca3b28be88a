"""Client of a rehearsal's API server: strict about every field, and every wait has a deadline."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from infra.errors import LocalProblem
from infra.kube_client import client_of

Manifest = dict[str, Any]
FIELD_MANAGER: Final = "ebbtide-rehearsal"
_POLL_SECONDS: Final = 0.1


class Refused(Exception):
    """A refusal by the API server: ``status`` is HTTP's, ``message`` the server's own words."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what}: {status} {message}")
        self.status, self.message = status, message


class UnknownKind(Exception):
    """A kind that no API of this cluster has."""


def documents(text: str) -> list[Manifest]:
    """Return the objects of a multi-document YAML text, in order."""
    return [document for document in yaml.load_all(text, Loader=_loader()) if document]


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 12,000 lines of KEDA take 5 s without libyaml


def named(document: Mapping[str, Any]) -> str:
    """Return kind and name, such as ``Deployment ebbtide-models/llama-8b``."""
    metadata = document.get("metadata") or {}
    space = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{document.get('kind')} {space}{metadata.get('name')}"


class Api:
    """One client, for one thread at a time."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client: httpx.Client = client_of(str(kubeconfig), None)
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def close(self) -> None:
        self._client.close()

    def healthy(self) -> bool:
        """Return True if the API server takes requests."""
        return self._client.get("/readyz").status_code == 200

    def get(self, path: str) -> Manifest | None:
        """Return the object or list at ``path``; None where there is none. Raises ``Refused``."""
        answer = self._client.get(path)
        if answer.status_code == 404:
            return None
        return self._judged(f"GET {path}", answer)

    def items(self, path: str) -> list[Manifest]:
        """Return the objects of a list; none where there is no list."""
        listing = self.get(path)
        return list(listing["items"]) if listing else []

    def delete(self, path: str, **parameters: str) -> None:
        """Request the object's deletion; a missing object is no error. Raises ``Refused``."""
        answer = self._client.delete(path, params=parameters)
        if answer.status_code != 404:
            self._judged(f"DELETE {path}", answer)

    def merge(self, path: str, change: Mapping[str, Any]) -> Manifest:
        """Apply a JSON merge patch. Raises ``Refused``."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._judged(f"PATCH {path}", self._client.patch(path, content=json.dumps(change), headers=headers))

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> Manifest:
        """Apply server-side, refusing every field that the kind does not have. ``dry_run`` does everything but the
        writing. Raises ``Refused`` and ``UnknownKind``."""
        parameters = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            parameters["dryRun"] = "All"
        answer = self._client.patch(
            self.path_of(document),
            params=parameters,
            content=json.dumps(document),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return self._judged(f"apply {named(document)}", answer)

    def create(self, document: Mapping[str, Any], *, dry_run: bool = False) -> Manifest:
        """Create an object that must not be there yet, otherwise as ``apply``."""
        parameters = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if dry_run:
            parameters["dryRun"] = "All"
        collection = self.path_of(document).rpartition("/")[0]
        return self._judged(
            f"create {named(document)}", self._client.post(collection, params=parameters, json=dict(document))
        )

    def apply_kinds(self, manifests: Iterable[Manifest]) -> list[str]:
        """Create the CustomResourceDefinitions among ``manifests``, wait until they are served; return their names."""
        kinds = [each for each in manifests if each.get("kind") == "CustomResourceDefinition"]
        for each in kinds:
            self.apply(each)
        names = [str(each["metadata"]["name"]) for each in kinds]
        wait_for(lambda: all(map(self._is_served, kinds)), f"the kinds {', '.join(names)} to be served", 60)
        return names

    def _is_served(self, kind: Manifest) -> bool:
        """Return True if the kind is accepted and listed in every version: the list follows a moment later."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind['metadata']['name']}"
        spec = kind["spec"]
        served = [f"{spec['group']}/{each['name']}" for each in spec["versions"] if each.get("served")]
        return has_condition(self.get(path), "Established") and all(
            (version, spec["names"]["kind"]) in self._kinds or self._discover(version, spec["names"]["kind"])
            for version in served
        )

    def path_of(self, document: Mapping[str, Any]) -> str:
        """Return the object's path. Raises ``UnknownKind`` for a kind that no API has."""
        version, kind, metadata = str(document["apiVersion"]), str(document["kind"]), document["metadata"]
        if (version, kind) not in self._kinds and not self._discover(version, kind):
            raise UnknownKind(f"{version} {kind}")
        plural, namespaced = self._kinds[version, kind]
        space = f"/namespaces/{metadata.get('namespace') or 'default'}" if namespaced else ""
        return f"{_base(version)}{space}/{plural}/{metadata['name']}"

    def _discover(self, version: str, kind: str) -> bool:
        for resource in (self.get(_base(version)) or {}).get("resources", ()):
            if "/" not in resource["name"]:
                self._kinds[version, resource["kind"]] = (resource["name"], resource["namespaced"])
        return (version, kind) in self._kinds

    @staticmethod
    def _judged(what: str, answer: httpx.Response) -> Manifest:
        if answer.status_code >= 400:
            try:
                message = str(answer.json().get("message"))
            except ValueError:
                message = answer.text[:500]
            raise Refused(what, answer.status_code, message)
        manifest: Manifest = answer.json()
        return manifest


def wait_for(
    ready: Callable[[], object], what: str, seconds: float, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Poll until ``ready`` returns true. An API server that does not answer yet counts as not ready; ``meanwhile`` may
    raise when waiting has become pointless. Raises ``LocalProblem`` naming ``what`` did not come in time."""
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            if ready():
                return
        except (httpx.TransportError, Refused) as error:
            last = f" (last answer: {error})"
        meanwhile()
        if time.monotonic() > deadline:
            raise LocalProblem(
                f"waited {seconds:.0f} s in vain for {what}{last}", "see the logs of the cluster's parts"
            )
        time.sleep(_POLL_SECONDS)


def has_condition(manifest: Manifest | None, condition: str) -> bool:
    conditions = ((manifest or {}).get("status") or {}).get("conditions") or ()
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def _base(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
