"""The stack's own key: it encrypts the cluster's secrets and the bucket of weights."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp

from components.platforms.contract import About
from components.platforms.gcp.names import labels

_ROTATION_DAYS = 90
ENCRYPTER_DECRYPTER = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


def service_agents(project_number: str) -> dict[str, str]:
    """Return Google's own accounts that use the key for this project. Sources: GKE documentation, Encrypt secrets at
    the application layer; Cloud Storage documentation, Use customer-managed encryption keys."""
    return {
        "cluster": f"service-{project_number}@container-engine-robot.iam.gserviceaccount.com",
        "bucket": f"service-{project_number}@gs-project-accounts.iam.gserviceaccount.com",
    }


class StackKey(pulumi.ComponentResource):
    """A key ring with one key, rotated every 90 days, that only the cluster's and the bucket's service agents may use.

    At rest it costs the key's active versions. A key ring can never be deleted, and a key's name never reused: both
    have a random ending, so that a stack can be made anew after `destroy`. Destroying the key makes what it encrypted
    unreadable for good. Source: Cloud KMS documentation, Object hierarchy; pulumi-gcp 10.2.
    """

    key: gcp.kms.CryptoKey
    cluster_may: gcp.kms.CryptoKeyIAMMember
    bucket_may: gcp.kms.CryptoKeyIAMMember

    def __init__(
        self, region: str, project: str, project_number: str, about: About, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ebbtide:platforms:GcpStackKey", "key", None, opts)
        child = pulumi.ResourceOptions(parent=self)
        ring = gcp.kms.KeyRing(about.name, location=region, opts=child)
        self.key = gcp.kms.CryptoKey(
            f"{about.name}-data",
            key_ring=ring.id,
            purpose="ENCRYPT_DECRYPT",
            rotation_period=f"{_ROTATION_DAYS * 24 * 3600}s",
            labels=labels(about),
            opts=pulumi.ResourceOptions(parent=self, protect=about.protect or None),
        )
        # asking for a project's storage account is what makes it exist
        storage = gcp.storage.get_project_service_account_output(
            project=project, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        agents = service_agents(project_number)
        self.cluster_may = gcp.kms.CryptoKeyIAMMember(
            "cluster-may-encrypt",
            crypto_key_id=self.key.id,
            role=ENCRYPTER_DECRYPTER,
            member=f"serviceAccount:{agents['cluster']}",
            opts=child,
        )
        self.bucket_may = gcp.kms.CryptoKeyIAMMember(
            "bucket-may-encrypt",
            crypto_key_id=self.key.id,
            role=ENCRYPTER_DECRYPTER,
            member=storage.apply(lambda account: f"serviceAccount:{account.email_address or agents['bucket']}"),
            opts=child,
        )
        self.register_outputs({"key": self.key.id})
