"""For each rule, what breaks it and nothing else: for the gate and for the engine alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.model_service.namespace import instance_class, instance_quota
from tests.policies.stack import Stack, entry, kube


@dataclass(frozen=True)
class Mutation:
    """``environment`` is one in which the rule is mandatory."""

    rule: str
    what: str
    apply: Callable[[Stack], None]
    environment: str = "prod"


def _gpus(stack: Stack) -> None:
    stack.pool["max"] = 200


def _price(stack: Stack) -> None:
    stack.config["platform"].update(region="eu-west-1", network={"zones": ["eu-west-1a", "eu-west-1b"]})


def _expensive(stack: Stack) -> None:
    stack.pool["pricePerHour"] = 900.0


def _no_max(stack: Stack) -> None:
    del stack.model["max"]


def _awake(stack: Stack) -> None:
    stack.model["min"] = 1


def _long_idle(stack: Stack) -> None:
    stack.inputs("ScaledObject")["spec"]["cooldownPeriod"] = 86400


def _no_taint(stack: Stack) -> None:
    stack.inputs("NodeGroup")["taints"] = []


def _no_toleration(stack: Stack) -> None:
    stack.pod["tolerations"] = []


def _too_large(stack: Stack) -> None:
    stack.model["maxTokens"] = 131072


def _by_tag(stack: Stack) -> None:
    stack.container["image"] = "r.example.com/ebbtide/engine:latest"


def _public(stack: Stack) -> None:
    annotations = stack.inputs("Ingress")["metadata"]["annotations"]
    annotations["alb.ingress.kubernetes.io/scheme"] = "internet-facing"
    annotations["alb.ingress.kubernetes.io/inbound-cidrs"] = "0.0.0.0/0"


def _no_tls(stack: Stack) -> None:
    del stack.inputs("Ingress")["metadata"]["annotations"]["alb.ingress.kubernetes.io/certificate-arn"]


def _secret_in_env(stack: Stack) -> None:
    stack.container["env"].append({"name": "HF_TOKEN", "value": "hf_" + "x" * 34})


def _secret_in_args(stack: Stack) -> None:
    stack.container["args"] += ["--api-key", "correct-horse-battery"]


def _secret_in_annotation(stack: Stack) -> None:
    stack.inputs("Deployment")["metadata"]["annotations"] = {"ebbtide.dev/facts": "glpat-" + "y" * 24}


def _secret_in_file(stack: Stack) -> None:
    stack.model["extraEnv"] = {"SOME_PASSWORD": "correct-horse-battery"}


def _licence(stack: Stack) -> None:
    del stack.model["licenceAccepted"]


def _branch(stack: Stack) -> None:
    stack.model["revision"] = "main"


def _pickle(stack: Stack) -> None:
    args = stack.container["args"]
    args[args.index("runai_streamer")] = "pt"


def _remote_code(stack: Stack) -> None:
    stack.container["args"].append("--trust-remote-code")


def _dev_mode(stack: Stack) -> None:
    stack.container["env"].append({"name": "VLLM_SERVER_DEV_MODE", "value": "1"})


def _old_engine(stack: Stack) -> None:
    stack.inputs("Image")["tags"] = ["r.example.com/ebbtide/vllm:0.14.0-cuda"]


def _old_operator(stack: Stack) -> None:
    stack.inputs("Release")["version"] = "v25.3.0"


def _baseline(stack: Stack) -> None:
    stack.inputs("Namespace")["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "baseline"}


def _root(stack: Stack) -> None:
    stack.pod["securityContext"]["runAsNonRoot"] = False


def _open_egress(stack: Stack) -> None:
    stack.inputs("NetworkPolicy")["spec"]["policyTypes"] = ["Ingress"]


def _other_pods(stack: Stack) -> None:
    stack.inputs("NetworkPolicy")["spec"]["podSelector"] = {"matchLabels": {"app": "others"}}


def _short_grace(stack: Stack) -> None:
    stack.pod["terminationGracePeriodSeconds"] = 30


def _no_startup(stack: Stack) -> None:
    del stack.container["startupProbe"]


def _short_cooldown(stack: Stack) -> None:
    stack.inputs("ScaledObject")["spec"]["cooldownPeriod"] = 300


def _two_writers(stack: Stack) -> None:
    stack.find("Deployment")["ignoreChanges"] = []


def _desired(stack: Stack) -> None:
    # the spelling of Python, which the engine ignores without a word
    stack.find("NodeGroup")["ignoreChanges"] = ["scaling_config.desired_size"]


def _no_quota(stack: Stack) -> None:
    stack.resources.remove(stack.find("ResourceQuota"))


def _large_quota(stack: Stack) -> None:
    stack.inputs("ResourceQuota")["spec"]["hard"]["requests.nvidia.com/gpu"] = "64"


def _uncounted(stack: Stack) -> None:
    stack.config["guard"]["maxInstances"] = 2


def _many_instances(stack: Stack) -> None:
    _uncounted(stack)
    stack.pod["priorityClassName"] = instance_class("ebbtide-models")
    spec = instance_quota(3, "ebbtide-models")
    stack.resources.append(kube("core/v1:ResourceQuota", "instance-guard", {"spec": spec}))


def _machine(stack: Stack) -> None:
    stack.inputs("NodeGroup")["instanceTypes"] = ["g5.4xlarge"]
    stack.pool["machine"] = "g5.4xlarge"


def _bucket_gone(stack: Stack) -> None:
    for kind in ("BucketPublicAccessBlock", "ServerSideEncryptionConfiguration", "bucket:Bucket"):
        stack.resources.remove(stack.find(kind))


def _renamed(stack: Stack) -> None:
    pool = stack.find("NodeGroup")
    pool["urn"], pool["name"] = pool["urn"].replace("::gpu-1xa10", "::gpu-a10"), "gpu-a10"
    stack.config["pools"]["gpu-a10"] = stack.config["pools"].pop("gpu-1xa10")
    stack.model["pool"] = "gpu-a10"


def _unprotected(stack: Stack) -> None:
    stack.find("bucket:Bucket")["protect"] = False


def _public_api(stack: Stack) -> None:
    vpc = stack.inputs("cluster:Cluster")["vpcConfig"]
    vpc.update(endpointPublicAccess=True, publicAccessCidrs=["0.0.0.0/0"])


def _no_audit(stack: Stack) -> None:
    stack.inputs("cluster:Cluster")["enabledClusterLogTypes"] = ["api"]


def _no_kms(stack: Stack) -> None:
    del stack.inputs("cluster:Cluster")["encryptionConfig"]


def _public_bucket(stack: Stack) -> None:
    stack.inputs("BucketPublicAccessBlock")["restrictPublicBuckets"] = False


def _no_public_block(stack: Stack) -> None:
    stack.resources.remove(stack.find("BucketPublicAccessBlock"))


def _plain_bucket(stack: Stack) -> None:
    stack.inputs("ServerSideEncryptionConfiguration")["rules"] = []


def _unscanned(stack: Stack) -> None:
    stack.inputs("Repository")["imageScanningConfiguration"] = {"scanOnPush": False}


def _spot(stack: Stack) -> None:
    stack.pool["capacity"] = "spot"


def _hangs_up(stack: Stack) -> None:
    annotations = stack.inputs("Ingress")["metadata"]["annotations"]
    annotations["alb.ingress.kubernetes.io/load-balancer-attributes"] = "idle_timeout.timeout_seconds=60"


def _open_service(stack: Stack) -> None:
    stack.resources.append(kube("core/v1:Service", "open", {"spec": {"type": "LoadBalancer"}}))


def _unknown_field(stack: Stack) -> None:
    stack.pod["shareProcessNamespace"] = True


def _unknown_kind(stack: Stack) -> None:
    stack.resources.append(entry("aws:ec2/instance:Instance", "beside", {"instanceType": "p5.48xlarge"}))


def _patched(stack: Stack) -> None:
    body = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
    stack.resources.append(kube("apps/v1:DaemonSetPatch", "node", body, "kube-system"))


def _remote(stack: Stack) -> None:
    remote = entry("kubernetes:yaml/v2:ConfigGroup", "group", {"yaml": "kind: DaemonSet"}, custom=False)
    stack.resources.append({**remote, "options": ["remote"]})


def _downloaded(stack: Stack) -> None:
    stack.find("Deployment")["options"] = ["pluginDownloadURL"]


def _for_everybody(stack: Stack) -> None:
    inputs = {"bucket": "models-1", "member": "allUsers", "role": "roles/storage.objectViewer"}
    stack.resources.append(entry("gcp:storage/bucketIAMMember:BucketIAMMember", "readers", inputs))


MUTATIONS = (
    Mutation("known-shape", "a field that this product does not set", _unknown_field),
    Mutation("known-shape", "a machine beside the pools", _unknown_kind),
    Mutation("known-shape", "a patch", _patched),
    Mutation("known-shape", "a remote component", _remote),
    Mutation("known-shape", "a plug-in from elsewhere", _downloaded),
    Mutation("narrow-rights", "a bucket that everybody may read", _for_everybody),
    Mutation("gpu-ceiling", "a pool of 200 nodes", _gpus),
    Mutation("cost-ceiling", "a machine nobody has a price for", _price),
    Mutation("cost-ceiling", "nodes at 900 $/h", _expensive),
    Mutation("max-present", "a model without max", _no_max),
    Mutation("zero-outside-production", "a model awake in dev without a reason", _awake, "dev"),
    Mutation("idle-ttl", "a model idle for a day in dev", _long_idle, "dev"),
    Mutation("gpu-taint", "a GPU pool without taint", _no_taint),
    Mutation("placement", "a pod that does not tolerate its pool", _no_toleration),
    Mutation("gpu-memory", "128k tokens on one A10G", _too_large),
    Mutation("image-digest", "an image by tag", _by_tag),
    Mutation("public-listener", "an Ingress open to the internet", _public),
    Mutation("public-listener", "an Ingress without TLS", _no_tls),
    Mutation("public-listener", "a load balancer without a list of networks", _open_service),
    Mutation("clear-text-secret", "a token in env", _secret_in_env),
    Mutation("clear-text-secret", "a key in args", _secret_in_args),
    Mutation("clear-text-secret", "a token in an annotation", _secret_in_annotation),
    Mutation("clear-text-secret", "a password in the stack file", _secret_in_file),
    Mutation("licence-acknowledged", "a gated model nobody accepted", _licence),
    Mutation("pinned-revision", "a branch for a revision", _branch),
    Mutation("safetensors", "weights read as pickle", _pickle),
    Mutation("no-remote-code", "trust in remote code", _remote_code),
    Mutation("no-remote-code", "the engine's development mode", _dev_mode),
    Mutation("engine-floor", "vLLM 0.14", _old_engine),
    Mutation("operator-floor", "GPU operator 25.3.0", _old_operator),
    Mutation("pod-security", "a namespace at baseline", _baseline),
    Mutation("pod-security", "a pod that may run as root", _root),
    Mutation("default-deny", "pods that may reach out", _open_egress),
    Mutation("default-deny", "a policy for all pods but the model's", _other_pods),
    Mutation("probes-and-grace", "a grace shorter than the drain", _short_grace),
    Mutation("probes-and-grace", "no startup probe", _no_startup),
    Mutation("cooldown", "a cooldown shorter than a cold start", _short_cooldown),
    Mutation("one-writer", "replicas written by the program", _two_writers),
    Mutation("one-writer", "a desired size ignored in the wrong spelling", _desired),
    Mutation("quota-present", "no quota", _no_quota),
    Mutation("quota-present", "a quota above maxGpus", _large_quota),
    Mutation("quota-present", "instances that no quota counts", _uncounted),
    Mutation("quota-present", "a quota above maxInstances", _many_instances),
    Mutation("deletion-approved", "another machine in a pool", _machine),
    Mutation("deletion-approved", "the bucket taken out", _bucket_gone),
    Mutation("deletion-approved", "a pool under another name", _renamed),
    Mutation("protected", "a bucket without protection", _unprotected),
    Mutation("private-api", "an API open to the internet", _public_api),
    Mutation("audit-log", "no audit log", _no_audit),
    Mutation("secrets-encrypted", "Secrets without a key", _no_kms),
    Mutation("bucket-private", "a bucket that may be opened", _public_bucket),
    Mutation("bucket-private", "a bucket without the block", _no_public_block),
    Mutation("bucket-encrypted", "a bucket without its key", _plain_bucket),
    Mutation("registry-private", "images nobody scans", _unscanned),
    Mutation("spot-only-production", "production on spot", _spot),
    Mutation("load-balancer-timeouts", "a load balancer that hangs up after a minute", _hangs_up),
)
