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
    """A policy as IAM takes it, the same text from run to run. Raises ``KeyError`` for a policy that is not in the
    file, and for a ``${…}`` of it that is not ``known``."""

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {filled(key): filled(value) for key, value in part.items()}
        if isinstance(part, list):
            return [filled(each) for each in part]
        return Template(part).substitute(known)

    return json.dumps({"Version": _VERSION, "Statement": filled(_statements()[policy])}, sort_keys=True)


def trust_service(service: str) -> str:
    """A role that a service of AWS takes."""
    return document("trust-service", service=service)


def trust_pods() -> str:
    """A role that pods take through an association."""
    return document("trust-pods")


def read_weights(bucket_arn: str, key_arn: str) -> str:
    """What a model's pod may do."""
    return document("read-weights", bucket=bucket_arn, key=key_arn)


def write_weights(bucket_arn: str, key_arn: str) -> str:
    """What the mirror may do."""
    return document("write-weights", bucket=bucket_arn, key=key_arn)


def tls_only(bucket_arn: str) -> str:
    """The bucket's own policy."""
    return document("tls-only", bucket=bucket_arn)


def cluster_autoscaler(cluster: str) -> str:
    """What the Cluster Autoscaler may do."""
    return document("cluster-autoscaler", cluster=cluster)


def load_balancer_controller(cluster: str) -> str:
    """What the load balancer's controller may do."""
    return document("load-balancer-controller", cluster=cluster)


def karpenter(cluster: str, region: str, account: str, node_role_arn: str, queue_arn: str) -> str:
    """What Karpenter's controller may do."""
    where = {"partition": partition(region), "region": region, "account": account}
    return document("karpenter", cluster=cluster, node_role=node_role_arn, queue=queue_arn, **where)


def interruption_queue(queue_arn: str) -> str:
    """Who may put notices into Karpenter's queue."""
    return document("interruption-queue", queue=queue_arn)
