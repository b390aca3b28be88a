"""Hostile changes of a program, each kind in several spellings, against the rules over its true graph alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.policies import shapes_kit as kit
from tests.policies.shapes_kit import Entry, beside, find, index_of, kube

pytest.importorskip("pulumi_aws")
pytest.importorskip("pulumi_azure_native")
pytest.importorskip("pulumi_gcp")
Change = Callable[[list[Entry]], None]
POD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{
        "name": "a", "image": "r.example.com/a@sha256:" + "a" * 64,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }],
}  # fmt: skip
RBAC = "rbac.authorization.k8s.io/v1"


def pod(entries: list[Entry], name: str = "llama-8b") -> dict[str, Any]:
    spec: dict[str, Any] = find(entries, "apps/v1:Deployment", name)["inputs"]["spec"]["template"]["spec"]
    return spec


def template(**changes: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "x"}}, "spec": {**POD, **changes}}


def with_container(**changes: Any) -> dict[str, Any]:
    return {"containers": [{**POD["containers"][0], **changes}]}


def policy(entries: list[Entry], name: str = "llama-8b") -> dict[str, Any]:
    spec: dict[str, Any] = find(entries, ":NetworkPolicy", name)["inputs"]["spec"]
    return spec


def anywhere(*networks: str) -> list[dict[str, Any]]:
    return [{"ipBlock": {"cidr": network}} for network in networks]


def let_out(**rule: Any) -> Change:
    return lambda entries: policy(entries).setdefault("egress", []).append(rule)


def let_in(**rule: Any) -> Change:
    return lambda entries: policy(entries).setdefault("ingress", []).append(rule)


def added(kind: str, body: dict[str, Any], namespace: str = "ebbtide-models", **more: Any) -> Change:
    return lambda entries: kube(entries, kind, json.loads(json.dumps(body)), namespace, **more)


def created(kind: str, inputs: dict[str, Any], **more: Any) -> Change:
    return lambda entries: beside(entries, kind, json.loads(json.dumps(inputs)), **more)


def put(kind: str, path: str, value: Any, name: str = "") -> Change:
    def change(entries: list[Entry]) -> None:
        here: Any = find(entries, kind, name)["inputs"]
        *way, last = path.split("/")
        for step in way:
            here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
        here[int(last) if isinstance(here, list) else last] = value

    return change


def option(name: str, kind: str = ":Deployment") -> Change:
    return lambda entries: find(entries, kind).update(options=[name])


def statement(**changes: Any) -> str:
    one = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*", **changes}
    return json.dumps({"Version": "2012-10-17", "Statement": [one]})


def bound(subject: dict[str, Any], role: str = "gateway-reader", kind: str = "RoleBinding") -> Change:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind.removesuffix("Binding"), "name": role}
    return added(f"{RBAC}:{kind}", {"roleRef": ref, "subjects": [subject]})


def role(verbs: list[str], resources: list[str], kind: str = "ClusterRole", groups: tuple[str, ...] = ("",)) -> Change:
    rule = {"apiGroups": list(groups), "resources": resources, "verbs": verbs}
    return added(f"{RBAC}:{kind}", {"rules": [rule]})


def listed(kind: str, path: str, item: Any) -> Change:
    """Add an item to a list that is there."""

    def change(entries: list[Entry]) -> None:
        here: Any = find(entries, kind)["inputs"]
        for step in path.split("/"):
            here = here[step]
        here.append(json.loads(json.dumps(item)))

    return change


def both(*changes: Change) -> Change:
    def change(entries: list[Entry]) -> None:
        for each in changes:
            each(entries)

    return change


ROLE = "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/"
SECRET = "[secret]"
SPEC = "spec/template/spec"
DEPLOYMENT = "apps/v1:Deployment"
BAD_POD = {"spec": {"template": template(hostPID=True)}}
SOMEBODY = {"kind": "ServiceAccount", "name": "x", "namespace": "default"}
S3_RULES = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
ALL_OBJECTS = {"id": "x", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": 1}}


def deleted_on_google(**condition: Any) -> Change:
    rule = {"action": {"type": "Delete"}, "condition": condition}
    return listed("storage/bucket:Bucket", "lifecycleRules", rule)


def deleted_on_azure(**actions: Any) -> Change:
    definition = {"actions": actions, "filters": {"blobTypes": ["blockBlob"]}}
    rule = {"name": "x", "enabled": True, "type": "Lifecycle", "definition": definition}
    return listed("storage:ManagementPolicy", "policy/rules", rule)


KINDS: dict[str, tuple[str, dict[str, Change]]] = {
    "what is hidden (G6)": (
        "aws-prod",
        {
            "a security context": put(DEPLOYMENT, f"{SPEC}/containers/0/securityContext", SECRET, "llama-8b"),
            "a pod template": put(DEPLOYMENT, "spec/template", SECRET, "llama-8b"),
            "a whole spec, then a bad pod in clear": both(
                put(DEPLOYMENT, "spec", SECRET, "gateway"), added("apps/v1:DaemonSet", BAD_POD)
            ),
            "an image": put(DEPLOYMENT, f"{SPEC}/containers/0/image", SECRET, "gateway"),
            "a policy's rules": put(":NetworkPolicy", "spec/egress", SECRET, "llama-8b"),
            "an API's networks": put("cluster:Cluster", "vpcConfig/publicAccessCidrs", SECRET),
            "an IAM document": put("iam/rolePolicy:RolePolicy", "policy", SECRET),
        },
    ),
    "who is let in (G7, G8)": (
        "aws-prod",
        {
            "an nginx list beside an open ALB": both(
                put(":Ingress", "metadata/annotations/alb.ingress.kubernetes.io\0scheme", "internet-facing"),
                put(
                    ":Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\0whitelist-source-range", "10.0.0.0/8"
                ),
            ),
            "a node port with external addresses": added(
                "core/v1:Service", {"spec": {"type": "NodePort", "externalIPs": ["203.0.113.7"]}}
            ),
            "external addresses alone": added(
                "core/v1:Service", {"spec": {"type": "ClusterIP", "externalIPs": ["203.0.113.7"]}}
            ),
            "Azure's annotation on Amazon's balancer": added(
                "core/v1:Service",
                {
                    "metadata": {"annotations": {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}},
                    "spec": {"type": "LoadBalancer"},
                },
            ),
            "another class": put(":Ingress", "spec/ingressClassName", "nginx"),
            "no class at all": put(":Ingress", "spec/ingressClassName", None),
            "Google's class on Amazon": put(":Ingress", "spec/ingressClassName", "gce-internal"),
            "a port of the node": put(DEPLOYMENT, f"{SPEC}/containers/0/ports/0/hostPort", 80, "gateway"),
            "the node's network": put(DEPLOYMENT, f"{SPEC}/hostNetwork", True, "gateway"),
            "a group open to all": created(
                "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
                {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp"},
            ),
            "a group open to all, in parts": both(
                *(
                    created(
                        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
                        {"cidrIpv4": f"{first}.0.0.0/4", "ipProtocol": "tcp"},
                    )
                    for first in (0, 16, 32)
                )
            ),
        },
    ),
    "policies that allow everything (G9)": (
        "aws-prod",
        {
            "out to everywhere": let_out(to=anywhere("0.0.0.0/0")),
            "out to everywhere, by halves": let_out(to=anywhere("0.0.0.0/1", "128.0.0.0/1")),
            "out to everywhere, by halves in two rules": both(
                let_out(to=anywhere("0.0.0.0/1")), let_out(to=anywhere("128.0.0.0/1"))
            ),
            "ports alone": let_out(ports=[{"protocol": "TCP", "port": 1, "endPort": 65535}]),
            "an empty list of peers": let_out(to=[], ports=[{"protocol": "TCP", "port": 443}]),
            "an empty rule in": let_in(**{"from": []}),
            "pods of every namespace": let_in(**{"from": [{"namespaceSelector": {}}]}),
            "namespaces but one": let_in(
                **{
                    "from": [
                        {
                            "namespaceSelector": {
                                "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]
                            }
                        }
                    ]
                }
            ),
            "labels in every namespace": let_in(
                **{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}]}
            ),
            "another policy beside": added(
                "networking.k8s.io/v1:NetworkPolicy",
                {"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}},
            ),
            "a node's credentials": let_out(to=anywhere("169.254.169.254/32"), ports=[{"protocol": "TCP", "port": 80}]),
        },
    ),
    "kinds nobody named (G10)": (
        "aws-prod",
        {
            "a controller": added("core/v1:ReplicationController", BAD_POD),
            "a template": added("core/v1:PodTemplate", {"template": template(hostIPC=True)}),
            "in an exempt namespace": added("apps/v1:Deployment", BAD_POD, "kube-system"),
            "in the operator's namespace": added("batch/v1:Job", BAD_POD, "gpu-operator"),
            "a patch": added("apps/v1:DeploymentPatch", BAD_POD),
            "a list": added("apps/v1:DaemonSetList", {"items": [BAD_POD]}),
            "a volume by claim": added(
                "core/v1:PersistentVolume", {"spec": {"hostPath": {"path": "/"}, "capacity": {"storage": "1Gi"}}}
            ),
            "an added capability": put(
                DEPLOYMENT, f"{SPEC}/containers/0/securityContext/capabilities/add", ["SYS_ADMIN"], "llama-8b"
            ),
            "root by number": put(DEPLOYMENT, f"{SPEC}/containers/0/securityContext/runAsUser", 0, "llama-8b"),
            "a projected token": put(
                DEPLOYMENT,
                f"{SPEC}/volumes",
                [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
                "llama-8b",
            ),
            "a namespace of an older profile": put(
                ":Namespace", "metadata/labels/pod-security.kubernetes.io\0enforce-version", "v1.22", "models"
            ),
            "a namespace at privileged": added(
                "core/v1:Namespace", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
            ),
        },
    ),
    "what is not seen (G11)": (
        "onprem",
        {
            "a group of documents": created(
                "kubernetes:yaml/v2:ConfigGroup", {"yaml": "kind: DaemonSet"}, custom=False, options=["remote"]
            ),
            "a file of documents": created(
                "kubernetes:yaml/v2:ConfigFile", {"file": "all.yaml"}, custom=False, options=["remote"]
            ),
            "a chart": created("kubernetes:helm.sh/v4:Chart", {"chart": "oci://x/y"}, custom=False, options=["remote"]),
            "a folder": created(
                "kubernetes:kustomize/v2:Directory", {"directory": "https://x"}, custom=False, options=["remote"]
            ),
            "one of ours, made elsewhere": created("ebbtide:gateway:Gateway", {}, custom=False, options=["remote"]),
            "one of ours, as a resource": created("ebbtide:gateway:Gateway", {}),
            "a chart from elsewhere": put("helm.sh/v3:Release", "repositoryOpts/repo", "https://charts.example.net"),
            "another chart": put("helm.sh/v3:Release", "chart", "anything"),
        },
    ),
    "cost beside the pools (G12)": (
        "aws-prod",
        {
            "machines": created("aws:ec2/instance:Instance", {"instanceType": "p5.48xlarge"}),
            "a group of machines": created("aws:autoscaling/group:Group", {"maxSize": 100}),
            "a host": created("aws:ec2/dedicatedHost:DedicatedHost", {"instanceType": "p5.48xlarge"}),
            "a fleet": created("aws:ec2/fleet:Fleet", {}),
            "a second system pool": created(
                "aws:eks/nodeGroup:NodeGroup", {"instanceTypes": ["m7i.large"], "scalingConfig": {"maxSize": 4}}
            ),
            "a larger system pool": put("nodeGroup:NodeGroup", "scalingConfig/maxSize", 100, "system"),
            "larger machines": put("nodeGroup:NodeGroup", "instanceTypes", ["m7i.48xlarge"], "system"),
            "a larger pool": put("nodeGroup:NodeGroup", "scalingConfig/maxSize", 15, "gpu-8xa100"),
            "other GPUs": put("nodeGroup:NodeGroup", "instanceTypes", ["p5.48xlarge"], "gpu-1xa10"),
            "Karpenter's pool": added(
                "karpenter.sh/v1:NodePool",
                {"spec": {"limits": {"cpu": "10000"}, "template": {"spec": {"requirements": []}}}},
            ),
            "an Azure machine": created(
                "azure-native:compute:VirtualMachine", {"hardwareProfile": {"vmSize": "Standard_ND96amsr_A100_v4"}}
            ),
            "a Google machine": created("gcp:compute/instance:Instance", {"machineType": "a3-highgpu-8g"}),
        },
    ),
    "rights on Amazon (G18)": (
        "aws-prod",
        {
            "an administrator": created(
                "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
                {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess", "role": "x"},
            ),
            "every action": put("iam/rolePolicy:RolePolicy", "policy", statement(Action="*", Resource="*")),
            "every action but one": put("iam/rolePolicy:RolePolicy", "policy", statement(NotAction="s3:GetObject")),
            "rights over rights": put(
                "iam/rolePolicy:RolePolicy",
                "policy",
                statement(Action=["iam:PassRole", "iam:PutRolePolicy"], Resource="*"),
            ),
            "anybody's bucket": put("bucketPolicy:BucketPolicy", "policy", statement(Principal="*")),
            "anybody's bucket, as a list": put(
                "bucketPolicy:BucketPolicy", "policy", statement(Principal={"AWS": ["*"]})
            ),
            "anybody's role": put(
                "iam/role:Role", "assumeRolePolicy", statement(Action="sts:AssumeRole", Principal={"AWS": "*"})
            ),
            "somebody else's role": put(
                "iam/role:Role",
                "assumeRolePolicy",
                statement(Action="sts:AssumeRole", Principal={"AWS": "arn:aws:iam::999999999999:root"}),
            ),
            "another block that opens": lambda entries: created(
                "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
                {"bucket": "x", "blockPublicAcls": False, "restrictPublicBuckets": False},
                dependsOn=[find(entries, "bucket:Bucket")["urn"]],
            )(entries),
            "a key of anybody's": put("kms/key:Key", "policy", statement(Principal="*", Action="kms:*")),
            "a repository of anybody's": created(
                "aws:ecr/repositoryPolicy:RepositoryPolicy", {"policy": statement(Principal="*"), "repository": "x"}
            ),
            "a plug-in from elsewhere": option("pluginDownloadURL"),
            "a role by name": put("cluster:Cluster", "roleArn", "arn:aws:iam::123456789012:role/Administrator"),
        },
    ),
    "rights on Kubernetes (G18)": (
        "onprem",
        {
            "the cluster's administrator": bound(SOMEBODY, "cluster-admin", "ClusterRoleBinding"),
            "the unauthenticated": bound({"kind": "Group", "name": "system:unauthenticated"}),
            "the authenticated": bound({"kind": "Group", "name": "system:authenticated"}),
            "the anonymous": bound({"kind": "User", "name": "system:anonymous"}),
            "every verb": role(["*"], ["pods"]),
            "every resource": role(["get"], ["*"], groups=("*",)),
            "escalation": role(["escalate"], ["clusterroles"], "Role"),
            "binding": role(["bind"], ["clusterroles"], "Role"),
            "impersonation": role(["impersonate"], ["users"], "Role"),
            "secrets of the cluster": role(["list"], ["secrets"]),
            "secrets of the models": role(["get"], ["secrets"], "Role"),
            "another right of ours": put(":Role", "rules/0/verbs", ["get", "list", "watch", "delete"], "gateway"),
            "a role that gathers others": added(
                f"{RBAC}:ClusterRole", {"aggregationRule": {"clusterRoleSelectors": [{}]}}
            ),
        },
    ),
    "rights on Google (G18)": (
        "gcp-prod",
        {
            "everybody reads the bucket": put("bucketIAMMember:BucketIAMMember", "member", "allUsers"),
            "everybody signed in": put("repositoryIamMember:RepositoryIamMember", "member", "allAuthenticatedUsers"),
            "an owner": put("projects/iAMMember:IAMMember", "role", "roles/owner"),
            "an editor": put("projects/iAMMember:IAMMember", "role", "roles/editor"),
            "an administrator of rights": put(
                "projects/iAMMember:IAMMember", "role", "roles/resourcemanager.projectIamAdmin"
            ),
            "a whole policy": created("gcp:projects/iAMPolicy:IAMPolicy", {"policyData": "{}"}),
            "a firewall open to all": put("firewall:Firewall", "sourceRanges", ["0.0.0.0/0"]),
        },
    ),
    "rights on Azure (G18)": (
        "azure-prod",
        {
            "an owner": put("RoleAssignment", "roleDefinitionId", ROLE + "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"),
            "a contributor": put("RoleAssignment", "roleDefinitionId", ROLE + "b24988ac-6180-42a0-ab88-20f7382dd24c"),
            "who gives rights": put(
                "RoleAssignment", "roleDefinitionId", ROLE + "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
            ),
            "a role of one's own": created(
                "azure-native:authorization:RoleDefinition", {"permissions": [{"actions": ["*"]}]}
            ),
            "blobs for everybody": put("StorageAccount", "allowBlobPublicAccess", True),
            "an account open to all": put("StorageAccount", "networkRuleSet/defaultAction", "Allow"),
            "a larger system pool": put("ManagedCluster", "agentPoolProfiles/0/maxCount", 100),
            "a balancer open to all": both(
                put("helm.sh/v3:Release", "values/service/annotations", {}, "ingress"),
                put(
                    "helm.sh/v3:Release",
                    "values/service/spec/loadBalancerSourceRanges",
                    ["0.0.0.0/1", "128.0.0.0/1"],
                    "ingress",
                ),
            ),
            "a balancer open to half": both(
                put("helm.sh/v3:Release", "values/service/annotations", {}, "ingress"),
                put("helm.sh/v3:Release", "values/service/spec/loadBalancerSourceRanges", ["0.0.0.0/1"], "ingress"),
            ),
        },
    ),
    "weights that expire on Amazon": (
        "aws-prod",
        {
            "after a day": listed(S3_RULES, "rules", ALL_OBJECTS),
            "on a day": listed(S3_RULES, "rules", {**ALL_OBJECTS, "expiration": {"date": "2026-12-01T00:00:00Z"}}),
            "by the rule for old versions": put(S3_RULES, "rules/0/expiration", {"days": 1}),
            "by rules beside": created(S3_RULES, {"bucket": "x", "rules": [ALL_OBJECTS]}),
            "by a job": created(
                "aws:s3control/bucketLifecycleConfiguration:BucketLifecycleConfiguration", {"bucket": "x"}
            ),
            "because old versions are not kept": put(
                "bucketVersioning:BucketVersioning", "versioningConfiguration/status", "Suspended"
            ),
        },
    ),
    "weights that expire on Google": (
        "gcp-prod",
        {
            "after a day": deleted_on_google(age=1),
            "before a day": deleted_on_google(createdBefore="2026-12-01"),
            "when there is one version": deleted_on_google(numNewerVersions=0),
            "those in use": deleted_on_google(age=1, withState="LIVE"),
            "because old versions are not kept": put("storage/bucket:Bucket", "versioning/enabled", False),
        },
    ),
    "weights that expire on Azure": (
        "azure-prod",
        {
            "a day after they were written": deleted_on_azure(
                baseBlob={"delete": {"daysAfterModificationGreaterThan": 1}}
            ),
            "a day after they came": deleted_on_azure(baseBlob={"delete": {"daysAfterCreationGreaterThan": 1}}),
            "a day after they were read": deleted_on_azure(
                baseBlob={"delete": {"daysAfterLastAccessTimeGreaterThan": 1}}
            ),
            "by another policy": created(
                "azure-native:storage:ManagementPolicy", {"policy": {"rules": [{"type": "x"}]}}
            ),
        },
    ),
}
ALL = [(kind, what) for kind, (_, changes) in KINDS.items() for what in changes]


def apply(change: Change, entries: list[Entry]) -> None:
    change(entries)
    for entry in entries:  # a slash in a key is written as a zero byte above
        entry["inputs"] = json.loads(json.dumps(entry["inputs"]).replace("\\u0000", "/"))


@pytest.mark.parametrize(("kind", "what"), ALL, ids=lambda value: value)
def test_a_hostile_change_of_the_program_is_blocked(kind: str, what: str) -> None:
    stack, changes = KINDS[kind]
    index = index_of(stack)
    entries = kit.graph(index)
    apply(changes[what], entries)
    assert kit.blocks(index, entries) != {}


def test_each_kind_has_several_spellings() -> None:
    assert all(len(changes) >= 4 for _, changes in KINDS.values())


def test_what_cannot_be_read_hides_nothing_that_comes_after_it() -> None:
    index = index_of("aws-prod")
    entries = kit.graph(index)
    first = next(i for i, entry in enumerate(entries) if entry["type"].endswith(DEPLOYMENT))
    name = entries[first]["name"]
    entries[first]["inputs"]["spec"]["template"] = SECRET
    pod(entries, next(model for model in ("llama-8b", "llama-70b") if model not in name))["hostPID"] = True
    text = "\n".join(kit.blocks(index, entries)["pod-security"])
    assert "spec.template is a secret" in text
    assert "hostPID shares the node" in text


def test_what_is_only_known_after_up_does_not_block() -> None:
    index = index_of("aws-prod")
    entries = kit.graph(index)
    image = find(entries, "docker-build:index:Image")
    pod(entries)["securityContext"]["runAsNonRoot"] = f"${{{image['urn']}#ref}}"
    assert kit.blocks(index, entries) == {}
