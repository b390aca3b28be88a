"""The Kubernetes provider's access to the cluster: by the caller's own AWS identity, never by a stored credential."""

from __future__ import annotations

import json


def kubeconfig(name: str, endpoint: str, authority: str, region: str) -> str:
    """Build a kubeconfig (JSON) that fetches a token valid for minutes with each call. ``authority`` is base64 PEM.

    The ``aws`` program must be on the path; it takes the same environment and profile as the provider.
    Source: EKS user guide, Connect kubectl to an EKS cluster by creating a kubeconfig file.
    """
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "aws",
        "args": ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"],
        "interactiveMode": "Never",
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"exec": command}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document)
