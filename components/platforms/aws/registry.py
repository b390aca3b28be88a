"""ECR: one private repository per image."""

from __future__ import annotations

import json

import pulumi
import pulumi_aws as aws

from components.platforms.aws.names import IMAGES, registry_host
from components.platforms.contract import Registry, RegistryAuth

_MOST_IMAGES, _UNTAGGED_DAYS = 50, 14


def lifecycle() -> str:
    """Return the policy that deletes untagged images after two weeks, and the oldest beyond fifty.
    Source: ECR user guide, Lifecycle policy properties."""
    rules = [
        {
            "rulePriority": 1,
            "description": "untagged",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": _UNTAGGED_DAYS,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "the oldest",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": _MOST_IMAGES},
            "action": {"type": "expire"},
        },
    ]
    return json.dumps({"rules": rules}, sort_keys=True)


class AwsRegistry(pulumi.ComponentResource):
    """A repository each for the engine, the gateway and the mirror: scanned on push, immutable tags (but the build
    cache's), encrypted with the stack's key. The account's nodes may pull; nobody outside the account may.

    At rest it costs the GB stored. Without ``protect`` they are deleted with the images in them. `up` pushes with a
    token of the registry that lasts 12 hours.
    """

    registry: Registry

    def __init__(
        self,
        name: str,
        account: str,
        region: str,
        key_arn: pulumi.Input[str],
        protect: bool,
        invoke: pulumi.InvokeOptions,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsRegistry", f"{name}-registry", None, opts)
        repositories = []
        for image in IMAGES:
            repository = aws.ecr.Repository(
                f"{name}-{image}",
                name=f"{name}/{image}",
                force_delete=not protect,
                image_tag_mutability="IMMUTABLE_WITH_EXCLUSION",
                # the build cache is rewritten with each build
                image_tag_mutability_exclusion_filters=[{"filter": "buildcache*", "filter_type": "WILDCARD"}],
                image_scanning_configuration={"scan_on_push": True},
                encryption_configurations=[{"encryption_type": "KMS", "kms_key": key_arn}],
                opts=pulumi.ResourceOptions(parent=self, protect=protect),
            )
            aws.ecr.LifecyclePolicy(
                f"{name}-{image}",
                repository=repository.name,
                policy=lifecycle(),
                opts=pulumi.ResourceOptions(parent=self),
            )
            repositories.append(repository)
        token = aws.ecr.get_authorization_token_output(registry_id=account, opts=invoke)
        # known only once the repositories exist: a push into a missing one is refused
        address = pulumi.Output.all(*(repository.id for repository in repositories)).apply(
            lambda _: f"{registry_host(account, region)}/{name}"
        )
        auth = RegistryAuth(token.user_name, pulumi.Output.secret(token.password))
        self.registry = Registry(address, auth=auth, build_cache=True)
        self.register_outputs({"address": address})
