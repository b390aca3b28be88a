"""Access to the cluster: an address and a program that fetches a short-lived token. It holds no lasting secret."""

from __future__ import annotations

import json

PLUGIN = "gke-gcloud-auth-plugin"
_HINT = (
    "install it with `gcloud components install gke-gcloud-auth-plugin`, or your distribution's package "
    "google-cloud-cli-gke-gcloud-auth-plugin"
)


def kubeconfig(name: str, endpoint: str, certificate: str | None) -> str:
    """Build a kubeconfig as JSON text. ``certificate``: the cluster's authority in base64; None for the DNS endpoint,
    whose certificate every machine trusts. Source: GKE documentation, Install kubectl and configure cluster access."""
    authority = {"certificate-authority-data": certificate} if certificate is not None else {}
    run = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": PLUGIN,
        "installHint": _HINT,
        "interactiveMode": "Never",
        "provideClusterInfo": True,
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": f"https://{endpoint}", **authority}}],
            "users": [{"name": name, "user": {"exec": run}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )
