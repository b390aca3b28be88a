"""The model store in S3: the weights, in the region of the nodes that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.model_service.settings import SERVICE_ACCOUNT
from components.platforms.aws.cluster import Cluster
from components.platforms.aws.names import bucket_name
from components.platforms.aws.pod_role import PodRole
from components.platforms.aws.rights import read_weights, tls_only, write_weights
from components.platforms.contract import Endpoint, Identity, Upload, Weights
from components.platforms.folder_store import folder_name

MODELS = "ebbtide-models"
MIRROR = "ebbtide-mirror"
# The agent on the pod's own node gives a pod its own role. Source: EKS user guide, Understand how EKS Pod Identity
# works.
POD_IDENTITY_AGENT = Endpoint("169.254.170.23/32", (80,))
_OLD_VERSIONS_DAYS, _BROKEN_UPLOAD_DAYS = 30, 7


@dataclass(frozen=True)
class S3Store:
    """Weights in a bucket of the same region, read by the engine itself through the Run:ai streamer.

    ``after`` is what must exist before a pod can read or write: the bucket and the associations that give pods their
    roles.
    """

    bucket: str
    region: str
    after: Sequence[pulumi.Resource] = ()

    @property
    def upload(self) -> Upload:
        """Return the target of the mirror, whose service account has the only role that writes."""
        return Upload(f"s3://{self.bucket}", Identity(), {"AWS_REGION": self.region}, (POD_IDENTITY_AGENT,))

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Return what models wait for, the bucket and their role; nothing is created in the cluster."""
        return list(self.after)

    def weights(self, model_id: str, revision: str) -> Weights:
        """Return where this revision's files are. Source: vLLM documentation, Loading models with Run:ai Model
        Streamer."""
        return Weights(
            f"s3://{self.bucket}/{folder_name(model_id)}/{revision}",
            load_format="runai_streamer",
            environment={"AWS_REGION": self.region},
            credentials=(POD_IDENTITY_AGENT,),
        )


class AwsModelStore(pulumi.ComponentResource):
    """A private, versioned bucket, encrypted with the stack's key and closed to anything but TLS, with a role that
    reads it for models and one that writes it for the mirror.

    At rest it costs the GB stored; overwritten objects are kept for 30 days. With ``protect`` neither `up` nor
    `destroy` deletes it; without, it is deleted with the weights in it.
    """

    store: S3Store

    def __init__(
        self,
        name: str,
        account: str,
        region: str,
        cluster: Cluster,
        key_arn: pulumi.Input[str],
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsModelStore", f"{name}-models", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            f"{name}-models",
            bucket=bucket_name(name, account),
            force_destroy=not protect,
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        closed = aws.s3.BucketPublicAccessBlock(
            f"{name}-models",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=mine,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-models", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=mine
        )
        encrypted = aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-models",
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": key_arn,
                    },
                    "bucket_key_enabled": True,  # one call to KMS for many objects
                }
            ],
            opts=mine,
        )
        versioned = aws.s3.BucketVersioning(
            f"{name}-models", bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=mine
        )
        self._expiry(name, bucket, versioned)
        # after the public access block: a policy set at the same time is refused as a conflict
        policy = aws.s3.BucketPolicy(
            f"{name}-models",
            bucket=bucket.id,
            policy=bucket.arn.apply(tls_only),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
        )
        rights = pulumi.Output.all(bucket.arn, key_arn)
        reader = PodRole(
            name, "model", cluster.ref, MODELS, SERVICE_ACCOUNT, rights.apply(lambda arns: read_weights(*arns)), mine
        )
        writer = PodRole(
            name, "mirror", cluster.ref, MIRROR, MIRROR, rights.apply(lambda arns: write_weights(*arns)), mine
        )
        # a pod made before its association stays without a role for life
        after = (reader.association, writer.association, encrypted, versioned, policy)
        self.store = S3Store(bucket_name(name, account), region, after)
        self.register_outputs({"bucket": bucket.bucket})

    def _expiry(self, name: str, bucket: aws.s3.Bucket, versioned: aws.s3.BucketVersioning) -> None:
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-models",
            bucket=bucket.id,
            rules=[
                {
                    "id": "overwritten",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": _OLD_VERSIONS_DAYS},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": _BROKEN_UPLOAD_DAYS},
                }
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioned]),
        )
