"""HTTP client for the API server of the stack's cluster: the Kubernetes client library handles a kubeconfig's
certificates, tokens and login programs."""

from __future__ import annotations

import ssl
import tempfile
from typing import Any

import httpx
import yaml

from infra.errors import LocalProblem
from infra.workspace import Paths


def api_client(paths: Paths) -> httpx.Client:
    """Return a client for the stack's cluster. Raises ``LocalProblem`` if the state folder has no usable kubeconfig."""
    return client_of(str(paths.kubeconfig), None)


def client_of(kubeconfig: str | None, context: str | None) -> httpx.Client:
    """Return a client for a context of a kubeconfig. ``None`` means kubectl's default: KUBECONFIG, else
    ``~/.kube/config``; the current context. Raises ``LocalProblem``."""
    from kubernetes import client
    from kubernetes.config import kube_config
    from kubernetes.config.config_exception import ConfigException

    configuration: Any = client.Configuration()
    load: Any = kube_config.load_kube_config
    # the library passes keys as files; they are deleted as soon as they have been read
    with tempfile.TemporaryDirectory(prefix="ebbtide-kubeconfig-") as keys:
        try:
            load(
                config_file=kubeconfig,
                context=context,
                client_configuration=configuration,
                persist_config=False,
                temp_file_path=keys,
            )
            tls = _tls(configuration)
        except (ConfigException, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise LocalProblem(f"kubeconfig, context {context or '(current)'}: {error}", _fix(kubeconfig)) from None
    headers = {
        setting["key"]: setting["value"] for setting in configuration.auth_settings().values() if setting["value"]
    }
    return httpx.Client(base_url=configuration.host, verify=tls, headers=headers, timeout=10, trust_env=False)


def _fix(kubeconfig: str | None) -> str:
    if kubeconfig is None:
        return "name a context that `kubectl config get-contexts` shows, or set KUBECONFIG to the file that has it"
    return "run `ebbtide local up`: it writes that file anew"


def _tls(configuration: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def api_ready(paths: Paths) -> bool:
    """Return True if the stack's cluster answers that it is ready."""
    try:
        with api_client(paths) as client:
            return client.get("/readyz").status_code == 200
    except (httpx.HTTPError, LocalProblem):
        return False
