"""Policy documents: who may take a role, and what each role may do. Their statements are in ``rights.yaml``. Pure."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from components.platforms.aws.names import partition
from components.typed.tables import read_table

_VERSION = "2012-10-17"


@cache
def _statements() -> dict[str, list[dict[str, Any]]]:
    return dict(read_table(Path(__file__).with_name("rights.yaml")))


def document(policy: str, **known: str) -> str:
    """Return a policy as IAM takes it, the same text from run to run. Raises ``KeyError`` for a policy that is not in
    the file, and for a ``${…}`` of it that is not ``known``."""

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {filled(key): filled(value) for key, value in part.items()}
        if isinstance(part, list):
            return [filled(each) for each in part]
        return Template(part).substitute(known)

    return json.dumps({"Version": _VERSION, "Statement": filled(_statements()[policy])}, sort_keys=True)


def trust_service(service: str) -> str:
    """Return the trust policy of a role that an AWS service assumes."""
    return document("trust-service", service=service)


def trust_pods() -> str:
    """Return the trust policy of a role that pods assume through an association."""
    return document("trust-pods")


def read_weights(bucket_arn: str, key_arn: str) -> str:
    """Return the rights of a model's pod."""
    return document("read-weights", bucket=bucket_arn, key=key_arn)


def write_weights(bucket_arn: str, key_arn: str) -> str:
    """Return the rights of the mirror."""
    return document("write-weights", bucket=bucket_arn, key=key_arn)


def tls_only(bucket_arn: str) -> str:
    """Return the bucket's own policy."""
    return document("tls-only", bucket=bucket_arn)


def cluster_autoscaler(cluster: str) -> str:
    """Return the rights of the Cluster Autoscaler."""
    return document("cluster-autoscaler", cluster=cluster)


def load_balancer_controller(cluster: str) -> str:
    """Return the rights of the load balancer's controller."""
    return document("load-balancer-controller", cluster=cluster)


def karpenter(cluster: str, region: str, account: str, node_role_arn: str, queue_arn: str) -> str:
    """Return the rights of Karpenter's controller."""
    where = {"partition": partition(region), "region": region, "account": account}
    return document("karpenter", cluster=cluster, node_role=node_role_arn, queue=queue_arn, **where)


def interruption_queue(queue_arn: str) -> str:
    """Return the policy that lets AWS put notices into Karpenter's queue."""
    return document("interruption-queue", queue=queue_arn)
