"""Questions to a cluster that exists: whether it answers, how old it is, and what the user may do in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import yaml

from components.catalog.versions import numbers
from components.platforms.checkup import Answer, CannotAsk, Check, NotSignedIn, Tools, clock, document, good, problem

OLDEST = (1, 30)
"""The oldest Kubernetes that the stack's manifests are for (docs/clouds/on-prem.md)."""
_REVIEW = "SelfSubjectAccessReview"
_ROLE = "on-prem-deployer.yaml"
# what reads only, or comes with another verb wherever it is given
_VERBS = ("get", "create", "patch", "delete")


class Cluster:
    """The API server of a kubeconfig's context. All questions raise ``CannotAsk``."""

    def __init__(self, tools: Tools, kubeconfig: str | None, context: str | None) -> None:
        self._tools, self._at, self.documents = tools, (kubeconfig, context), tools.documents
        self._lock = threading.Lock()
        self._client: httpx.Client | CannotAsk | None = None

    def _ready(self) -> tuple[Tools, str]:
        """Return tools that reach the cluster, and its address. The kubeconfig is read once: it may run a login."""
        with self._lock:
            if self._client is None:
                try:
                    self._client = self._tools.cluster(*self._at)
                except CannotAsk as missing:
                    self._client = missing
        if isinstance(self._client, CannotAsk):
            raise self._client
        return replace(self._tools, client=self._client), str(self._client.base_url).rstrip("/")

    def get(self, path: str) -> Any:
        """Return an object or list; None if the cluster does not have it."""
        tools, address = self._ready()
        answer = tools.get(f"{address}{path}")
        if answer.status_code == 404:
            return None
        if answer.status_code == 401:
            raise NotSignedIn("the cluster refuses the kubeconfig's credentials", "sign in to the cluster again")
        if answer.status_code == 403:
            raise CannotAsk(f"not allowed to read {path.partition('?')[0]}", "ask for the right to read it")
        if not answer.is_success:
            raise CannotAsk(f"the cluster answers {answer.status_code}")
        return document(answer)

    def checks(self) -> Iterator[Check]:
        """Yield what is asked of every cluster."""
        yield Check(subject="cluster", ask=self._answers)
        yield Check(subject="clock", ask=self._clock)
        yield Check(subject="rights", ask=self._rights)

    def _answers(self) -> Iterator[Answer]:
        answer = self.get("/version")
        version = str((answer or {}).get("gitVersion", "")).removeprefix("v")
        if not version:
            raise CannotAsk("it does not say its version")
        if numbers(version)[:2] < OLDEST:
            yield problem(f"is Kubernetes {version}", f"upgrade it to {OLDEST[0]}.{OLDEST[1]} or newer")
        else:
            yield good(f"answers, Kubernetes {version}")

    def _clock(self) -> Iterator[Answer]:
        tools, address = self._ready()
        yield from clock(tools, f"{address}/version").ask()

    def _rights(self) -> Iterator[Answer]:
        """Ask for each right of the deployer's role; a review is answered and not kept."""
        tools, address = self._ready()
        url, role = f"{address}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self.documents / _ROLE
        missing = []
        for rule in yaml.safe_load(role.read_text(encoding="utf-8"))["rules"]:
            resources = [(group, each) for group in rule["apiGroups"] for each in rule["resources"]]
            for verb in (each for each in rule["verbs"] if each in _VERBS):
                for group, each in resources:
                    resource, _, part = each.partition("/")
                    attributes = {"group": group, "resource": resource, "verb": verb, "subresource": part}
                    body = {"apiVersion": "authorization.k8s.io/v1", "kind": _REVIEW}
                    spec = json.dumps({**body, "spec": {"resourceAttributes": attributes}}).encode()
                    answer = tools.post(_REVIEW, url, {"content-type": "application/json"}, spec)
                    if not answer.is_success:
                        raise CannotAsk(f"the cluster answers {answer.status_code} to a {_REVIEW}")
                    if not document(answer)["status"]["allowed"]:
                        missing.append(f"{verb} {each}{'.' if group else ''}{group}")
        if missing:
            fix = f"bind the role of docs/clouds/{_ROLE}; with install: helm an administrator's"
            yield problem(f"{len(missing)} are missing: {', '.join(missing)}", fix)
        else:
            yield good(f"those of docs/clouds/{_ROLE}; charts (install: helm) take an administrator's")
