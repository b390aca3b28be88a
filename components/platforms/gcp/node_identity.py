"""The nodes' identity in Google Cloud: an account of their own that may write logs and metrics, and pull."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp

from components.platforms.contract import About
from components.platforms.gcp.names import account_id

NODE_ROLE = "roles/container.defaultNodeServiceAccount"
"""The least that GKE's own agents on a node need. Source: GKE documentation, Configure GKE node service accounts."""
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""All scopes: the account of its own limits a node by its roles. Source: GKE documentation, Access scopes."""


class NodeIdentity(pulumi.ComponentResource):
    """A service account for all nodes; costs nothing. Pods do not get it: GKE's metadata server gives each pod its own
    identity."""

    email: pulumi.Output[str]
    member: pulumi.Output[str]
    granted: gcp.projects.IAMMember

    def __init__(self, project: str, about: About, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:platforms:GcpNodeIdentity", "node-identity", None, opts)
        account = gcp.serviceaccount.Account(
            "nodes",
            account_id=account_id(about.name, "nodes"),
            display_name=f"Nodes of {about.name}",
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.email = account.email
        self.member = pulumi.Output.concat("serviceAccount:", account.email)
        self.granted = gcp.projects.IAMMember(
            "nodes-may-log",
            project=project,
            role=NODE_ROLE,
            member=self.member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"email": self.email})
