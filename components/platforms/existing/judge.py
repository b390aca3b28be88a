"""Rules of an adopted cluster: TLS at its front door, and whether the kubeconfig leads to the intended cluster."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from components.platforms.contract import PoolRequest
from components.platforms.existing.settings import ExistingSettings
from components.typed.refusal import Problem
from components.typed.rules.stack import HOST_WITHOUT_TLS, KUBECONFIG_CONTEXT


def judge(settings: ExistingSettings, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Yield what the stack file alone shows. Paths as in the stack file."""
    yield from _tls(settings)


def inspect_machine(settings: ExistingSettings) -> Iterator[Problem]:
    """Yield what this machine's kubeconfig shows before anything is created. Reads that file, asks no cluster."""
    path = Path(settings.kubeconfig).expanduser()
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        message, fix = "is not on this machine", "write the path of a kubeconfig that has the context"
        at, allowed = ("platform", "kubeconfig"), "a kubeconfig with the context"
        yield KUBECONFIG_CONTEXT.at(
            at, message, allowed=allowed, fix=fix, value=settings.kubeconfig, severity="warning"
        )
        return
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        # never the parser's own message: it quotes the file, which holds credentials
        message, fix = "cannot be read as a kubeconfig", "try: kubectl config view --kubeconfig with this file"
        yield KUBECONFIG_CONTEXT.at(
            ("platform", "kubeconfig"), message, allowed="a readable kubeconfig", fix=fix, value=settings.kubeconfig
        )
        return
    yield from judge_context(settings, document if isinstance(document, Mapping) else {})


def judge_context(settings: ExistingSettings, kubeconfig: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that the context exists and leads to the API server the stack file names."""
    contexts = _named(kubeconfig, "contexts", "context")
    context = contexts.get(settings.context)
    at = ("platform", "context")
    if context is None:
        allowed = ", ".join(contexts) or "none: this kubeconfig has no context"
        fix = "use one of them, or add the context: kubectl config get-contexts shows what is there"
        message = f"is not a context of {settings.kubeconfig}"
        yield KUBECONFIG_CONTEXT.at(at, message, allowed=allowed, fix=fix, value=settings.context)
        return
    cluster = _named(kubeconfig, "clusters", "cluster").get(str(context.get("cluster")), {})
    server = str(cluster.get("server", ""))
    if settings.api_server is not None and _address(server) != _address(settings.api_server):
        message = f"leads to another cluster, {server or 'one without an address'}, than the stack's"
        fix = "use the context of the stack's cluster, or write the address it has now under apiServer"
        yield KUBECONFIG_CONTEXT.at(
            at, message, allowed=f"a context that leads to {settings.api_server}", fix=fix, value=settings.context
        )


def _named(kubeconfig: Mapping[str, Any], section: str, key: str) -> dict[str, Mapping[str, Any]]:
    entries = kubeconfig.get(section)
    mappings = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    return {str(e.get("name")): e[key] for e in mappings if isinstance(e.get(key), Mapping)}


def _address(server: str) -> tuple[str, int | None, str]:
    """Return host, port and path, so that case, a default port and a trailing slash make no difference."""
    try:
        parts = urlsplit(server)
        return (parts.hostname or "").lower(), parts.port or 443, parts.path.rstrip("/")
    except ValueError:
        return server, None, ""


def _tls(settings: ExistingSettings) -> Iterator[Problem]:
    url, path = settings.ingress.url, ("platform", "ingress", "url")
    if url is None:
        return
    allowed = "https://host, without /v1; http only for this machine itself"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or not re.match(r"https?://", url):
        yield HOST_WITHOUT_TLS.at(
            path,
            "is not an address of the web",
            allowed=allowed,
            fix="write it like https://llm.example.com",
            value=url,
        )
    elif parts.scheme == "http" and not _is_loopback(host):
        fix = f"write https://{parts.netloc}, with a certificate at the load balancer or ingress"
        yield HOST_WITHOUT_TLS.at(
            path, "has no TLS: keys and prompts would cross the network in clear", allowed=allowed, fix=fix, value=url
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
