"""A role that the pods of one service account assume."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.platforms.aws.names import role_prefix
from components.platforms.aws.rights import trust_pods


class PodRole(pulumi.ComponentResource):
    """A role, its policy, and the association that gives it to one service account of one namespace. Costs nothing.

    The pods need no annotation and no key: the Pod Identity Agent on their node serves them. The association may exist
    before the namespace does. Source: EKS user guide, Learn how EKS Pod Identity grants pods access to AWS services.
    """

    arn: pulumi.Output[str]
    association: aws.eks.PodIdentityAssociation

    def __init__(
        self,
        stack: str,
        purpose: str,
        cluster: pulumi.Input[str],
        namespace: str,
        service_account: str,
        policy: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
    ) -> None:
        name = f"{stack}-{purpose}"
        super().__init__("ebbtide:platforms:AwsPodRole", name, None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name,
            name_prefix=role_prefix(stack, purpose),
            assume_role_policy=trust_pods(),
            description=f"Pods of {namespace}/{service_account}",
            opts=mine,
        )
        role_policy = aws.iam.RolePolicy(name, role=role.name, policy=policy, opts=mine)
        self.arn = role.arn
        self.association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=cluster,
            namespace=namespace,
            service_account=service_account,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role_policy, *depends_on]),
        )
        self.register_outputs({"arn": self.arn})
