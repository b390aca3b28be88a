"""The Kubernetes provider's access to the cluster: by the identity that runs `up`, never by a stored credential."""

from __future__ import annotations

import base64
import json
from typing import Any

import yaml

AKS_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""The Entra application every AKS cluster accepts tokens for. Source: kubelogin documentation, Using kubelogin with
AKS."""


def kubeconfig(encoded: str, name: str, tenant: str) -> str:
    """Build a kubeconfig (JSON) that fetches a token valid for minutes with each call. It is made from the one AKS
    hands out (``encoded``, base64): its address and certificate authority are kept, its user is not.

    ``kubelogin`` must be on the path. It takes the login of the Azure CLI; a pipeline sets AAD_LOGIN_METHOD
    (``workloadidentity``, ``spn``, ``msi``), which overrides the arguments here. Source: kubelogin documentation, Login
    modes, and its command line's environment. Raises ``ValueError`` for a document that names no cluster.
    """
    original: Any = yaml.safe_load(base64.b64decode(encoded))
    try:
        cluster = original["clusters"][0]["cluster"]
        known = {"server": cluster["server"], "certificate-authority-data": cluster["certificate-authority-data"]}
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"cluster {name}: AKS gave a kubeconfig without an address and an authority") from None
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "kubelogin",
        "args": ["get-token", "--login", "azurecli", "--server-id", AKS_SERVER, "--tenant-id", tenant],
        "interactiveMode": "Never",
        "installHint": "install it with: az aks install-cli",
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": known}],
        "users": [{"name": name, "user": {"exec": command}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document)
