"""The provider's own configuration: which cluster, and when a change of it means other resources."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.local.plugins.differences import Change, Difference, compare
from infra.local.plugins.plugin import RefusedError
from infra.local.plugins.properties import UNKNOWN, plain

_UNSUPPORTED = ("renderYamlToDirectory", "alwaysRender")


@dataclass(frozen=True)
class Settings:
    """What a program gave the provider; None where it left the choice to the kubeconfig."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    cluster_identifier: str | None = None
    secret_mutable: bool = False
    config_map_mutable: bool = False
    patch_force: bool = False
    upsert: bool = False
    delete_unreachable: bool = False
    known: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """From the wire, where everything that is not a string arrives as JSON text."""
        given = {key: _parsed(value) for key, value in plain(config).items()}
        if unsupported := [key for key in _UNSUPPORTED if given.get(key)]:
            raise RefusedError(
                f"provider setting {', '.join(unsupported)}: not offered by the Kubernetes stand-in; leave it out"
            )

        def flag(name: str, variable: str) -> bool:
            value = given.get(name)
            return str(os.environ.get(variable, "") if value is None else value).lower() == "true"

        return cls(
            kubeconfig=_text(given.get("kubeconfig")),
            context=_text(given.get("context")),
            cluster=_text(given.get("cluster")),
            namespace=_text(given.get("namespace")),
            cluster_identifier=_text(given.get("clusterIdentifier")),
            secret_mutable=flag("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
            config_map_mutable=flag("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
            patch_force=flag("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
            upsert=flag("upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
            delete_unreachable=flag("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
            known=UNKNOWN not in (given.get("kubeconfig"), given.get("context")),
        )

    def load(self) -> dict[str, Any]:
        """The kubeconfig as a map; raises `RefusedError` that names the place when there is none to read."""
        source = self.kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config"
        text, place = source, "the provider's kubeconfig"
        if "\n" not in source and not source.lstrip().startswith("{"):
            path = Path(source).expanduser()
            place = str(path)
            try:
                text = path.read_text()
            except OSError as error:
                raise RefusedError(
                    f"kubeconfig {path} cannot be read ({error.strerror}): is the cluster up? "
                    "Give the provider a kubeconfig that exists"
                ) from None
        try:
            loaded = yaml.safe_load(text)
        except yaml.YAMLError:
            loaded = None
        if not isinstance(loaded, dict) or not loaded.get("clusters"):
            raise RefusedError(f"{place} is not a kubeconfig: it has no clusters")
        return _at_place(loaded, Path(place).parent if place.startswith("/") else Path.cwd())

    def context_name(self, config: Mapping[str, Any]) -> str:
        """The context in force."""
        return self.context or str(config.get("current-context") or "")

    def context_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The context in force as a map; raises `RefusedError` with the names there are."""
        name = self.context_name(config)
        contexts = {item.get("name"): item.get("context") or {} for item in config.get("contexts") or []}
        if name not in contexts:
            raise RefusedError(
                f"kubeconfig has no context {name!r}; it has: {', '.join(map(repr, contexts)) or 'none'}"
            )
        found: dict[str, Any] = dict(contexts[name])
        if self.cluster:
            found["cluster"] = self.cluster
        return found

    def address(self, config: Mapping[str, Any]) -> str:
        """Where the cluster of the context in force listens."""
        wanted = self.context_of(config).get("cluster")
        for item in config.get("clusters") or []:
            if item.get("name") == wanted:
                return str((item.get("cluster") or {}).get("server"))
        raise RefusedError(f"kubeconfig has no cluster {wanted!r} for context {self.context_name(config)!r}")


def difference(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Difference:
    """Whether changed settings mean another cluster: everything on it must then be made anew.

    Two equal ``clusterIdentifier`` say it is the same one, whatever the kubeconfig; otherwise the address decides.
    """
    changes = compare(plain(olds), plain(news))
    if not changes:
        return Difference()
    old, new = Settings.of(olds), Settings.of(news)
    if old.cluster_identifier or new.cluster_identifier:
        other = old.cluster_identifier != new.cluster_identifier
        decisive = "clusterIdentifier"
    else:
        other = _place(old) != _place(new)
        decisive = "kubeconfig"
    return Difference(
        tuple(Change(change.path, change.kind, replaces=other and change.path[0] in (decisive, "context", "cluster"))
              for change in changes)
    )  # fmt: skip


def _place(settings: Settings) -> str:
    if not settings.known:
        return "not known yet"
    try:
        return settings.address(settings.load())
    except RefusedError:
        # A kubeconfig that is gone cannot tell which cluster it meant: what it was called has to do.
        return f"{settings.kubeconfig} {settings.context}"


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if isinstance(value, str) and value.startswith('"'):
        return json.loads(value)
    return value


def _text(value: Any) -> str | None:
    if value in (None, "") or value is UNKNOWN:
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _at_place(config: dict[str, Any], directory: Path) -> dict[str, Any]:
    # Certificate paths in a kubeconfig are relative to the file, not to where the plugin happens to run.
    for group, keys in (
        ("clusters", ["certificate-authority"]),
        ("users", ["client-certificate", "client-key"]),
    ):
        for item in config.get(group) or []:
            holder = item.get(group[:-1]) or {}
            for key in keys:
                if holder.get(key):
                    holder[key] = str(directory / holder[key])
    return config
