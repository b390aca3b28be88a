"""A Cloud Storage bucket of weights, in the cluster's region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.model_service.settings import SERVICE_ACCOUNT
from components.platforms.contract import About, Endpoint, Identity, Upload, Weights
from components.platforms.folder_store import folder_name
from components.platforms.gcp.encryption import StackKey
from components.platforms.gcp.names import bucket_name, labels, principal

MODELS_NAMESPACE = "ebbtide-models"
MIRROR_NAMESPACE = MIRROR_ACCOUNT = "ebbtide-mirror"
BUCKET_READER = "roles/storage.legacyBucketReader"
"""The role for the bucket itself, which the streamer asks for before it lists it (``get_bucket``); ``objectViewer``
does not include that. Source: runai-model-streamer, py/runai_model_streamer_gcs/files.py; Cloud Storage documentation,
IAM roles."""
READERS = (BUCKET_READER, "roles/storage.objectViewer")
WRITERS = (BUCKET_READER, "roles/storage.objectUser")
_OLD_VERSIONS_DAYS = 30


def bucket_args(settings_region: str, project: str, about: About, key: pulumi.Input[str]) -> gcp.storage.BucketArgs:
    """Build a private bucket in one region, encrypted with the stack's key; Cloud Storage answers only HTTPS with the
    client libraries' token. Old versions of a file go after 30 days."""
    return gcp.storage.BucketArgs(
        name=bucket_name(about.name, project),
        location=settings_region.upper(),
        storage_class="STANDARD",
        labels=labels(about),
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        encryption=gcp.storage.BucketEncryptionArgs(default_kms_key_name=key),
        versioning=gcp.storage.BucketVersioningArgs(enabled=True),
        # versions already bring a deleted file back; soft delete would keep, and bill, hundreds of GB a second time
        soft_delete_policy=gcp.storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=0),
        lifecycle_rules=[
            gcp.storage.BucketLifecycleRuleArgs(
                action=gcp.storage.BucketLifecycleRuleActionArgs(type="Delete"),
                condition=gcp.storage.BucketLifecycleRuleConditionArgs(
                    days_since_noncurrent_time=_OLD_VERSIONS_DAYS, with_state="ARCHIVED"
                ),
            ),
            gcp.storage.BucketLifecycleRuleArgs(
                action=gcp.storage.BucketLifecycleRuleActionArgs(type="AbortIncompleteMultipartUpload"),
                condition=gcp.storage.BucketLifecycleRuleConditionArgs(age=7),
            ),
        ],
        # a protected stack's weights are removed by hand or not at all
        force_destroy=not about.protect,
    )


# GKE's metadata server runs on the pod's own node and gives a pod nothing but its own identity. Under Dataplane V2,
# which clusters made here have, a policy sees these ports. Source: GKE documentation, Workload Identity Federation for
# GKE.
METADATA_SERVER = Endpoint("169.254.169.254/32", (80, 8080))


@dataclass(frozen=True)
class GcsStore:
    """Weights under ``gs://bucket/<id>/<revision>``, read by vLLM itself under the pod's own identity."""

    bucket: str
    ready: Sequence[pulumi.Resource] = ()

    @property
    def upload(self) -> Upload:
        return Upload(root=f"gs://{self.bucket}", identity=Identity(), credentials=(METADATA_SERVER,))

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Return what must exist first, the bucket and the right to read it; nothing is made in the cluster."""
        return list(self.ready)

    def weights(self, model_id: str, revision: str) -> Weights:
        """Return the ``gs://`` path and the load format vLLM needs for it; the client finds the pod's identity by
        itself (application default credentials). Source: vLLM documentation, Loading models with Run:ai Model Streamer.
        """
        return Weights(
            path=f"gs://{self.bucket}/{folder_name(model_id)}/{revision}",
            load_format="runai_streamer",
            credentials=(METADATA_SERVER,),
        )


class GcpModelStore(pulumi.ComponentResource):
    """The bucket, readable by the models' service account and writable by the mirror's, as their own principals: no
    Google service account and no key in between. At rest it costs the weights' storage (docs/clouds/gcp.md)."""

    store: GcsStore

    def __init__(
        self,
        region: str,
        project: str,
        project_number: str,
        about: About,
        key: StackKey,
        pool_ready: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Create the bucket and its grants, after ``pool_ready``: that makes the project's identity pool exist (the
        first cluster does), and a grant to one of its principals is refused before."""
        super().__init__("ebbtide:platforms:GcpModelStore", "model-store", None, opts)
        bucket = gcp.storage.Bucket(
            "models",
            bucket_args(region, project, about, key.key.id),
            opts=pulumi.ResourceOptions(parent=self, protect=about.protect or None, depends_on=[key.bucket_may]),
        )
        readers = principal(project, project_number, MODELS_NAMESPACE, SERVICE_ACCOUNT)
        writers = principal(project, project_number, MIRROR_NAMESPACE, MIRROR_ACCOUNT)
        grants = [("models", role, readers) for role in READERS] + [("mirror", role, writers) for role in WRITERS]
        bindings = [
            gcp.storage.BucketIAMMember(
                f"{who}-{role.rpartition('.')[2]}",
                bucket=bucket.name,
                role=role,
                member=member,
                opts=pulumi.ResourceOptions(parent=self, depends_on=list(pool_ready)),
            )
            for who, role, member in grants
        ]
        self.store = GcsStore(bucket_name(about.name, project), ready=(bucket, *bindings))
        self.register_outputs({"bucket": bucket.name})
