"""Stand-ins for the programs that fetch a cluster's short-lived credential: ``aws eks get-token``,
``gke-gcloud-auth-plugin`` and ``kubelogin get-token``. For rehearsals: each hands out the client certificate (or token)
of the rehearsal's API server, ``aws`` only for a cluster that is in the rehearsal's cloud."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.plugins import rehearsal
from lab.plugins.clouds.cloud import Cloud

PROGRAMS = ("aws", "gke-gcloud-auth-plugin", "kubelogin")


def credential(program: str, arguments: Sequence[str], now: rehearsal.Rehearsal) -> str:
    """Return the ExecCredential as JSON. Raises ``LookupError`` with the text for the user where there is none."""
    if program == "aws":
        parser = argparse.ArgumentParser("aws", exit_on_error=False)
        for option in ("--region", "--profile", "--role-arn", "--output", "--cluster-name"):
            parser.add_argument(option)
        options, words = parser.parse_known_args(list(arguments))
        if words != ["eks", "get-token"]:
            raise LookupError(f"aws: this stand-in only knows `eks get-token`, not {' '.join(words)!r}")
        if Cloud(now.folder, "aws").named("aws:eks/cluster:Cluster", options.cluster_name or "") is None:
            raise LookupError(f"ResourceNotFoundException: No cluster found for name: {options.cluster_name}.")
    if program == "kubelogin" and list(arguments[:1]) != ["get-token"]:
        raise LookupError(f"kubelogin: this stand-in only knows get-token, not {' '.join(arguments)!r}")
    if now.api is None:
        raise LookupError(f"{program}: no API server in {now.folder / rehearsal.SETTINGS}")
    request = json.loads(os.environ.get("KUBERNETES_EXEC_INFO") or "{}")
    status = {"token": now.api.token} if now.api.token else {}
    if now.api.client_certificate and now.api.client_key:
        status = {
            "clientCertificateData": Path(now.api.client_certificate).read_text(),
            "clientKeyData": Path(now.api.client_key).read_text(),
        }
    version = request.get("apiVersion") or "client.authentication.k8s.io/v1"
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


def main() -> None:
    """Run the program that the first argument names; the others are its own arguments."""
    program, *arguments = sys.argv[1:]
    now = rehearsal.current()
    if now is None:
        sys.exit(f"{program} on this PATH is a stand-in for rehearsals and {rehearsal.VARIABLE} is not set")
    try:
        sys.stdout.write(credential(program, arguments, now) + "\n")
    except LookupError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
