"""What a cluster that others made can be asked before a first deploy: nodes, GPUs, claim, storage class, registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

from components.platforms.checkup import Answer, CannotAsk, Check, Tools, good, problem
from components.platforms.cluster_checks import Cluster
from components.platforms.contract import About, PoolRequest
from components.platforms.existing.judge import inspect_machine
from components.platforms.existing.settings import ExistingSettings

_MODELS = "ebbtide-models"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def checks(place: ExistingSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> Iterator[Check]:
    """Yield every question."""
    cluster = Cluster(tools, str(Path(place.kubeconfig).expanduser()), place.context)
    yield Check(subject=f"context {place.context}", ask=partial(_context, place))
    yield from cluster.checks()
    for name, request in pools.items():
        yield Check(subject=f"nodes of {name}", ask=partial(_nodes, cluster, request))
    yield Check(subject=f"claim {place.model_store.claim}", ask=partial(_claim, cluster, place))
    yield Check(subject="storage class", ask=partial(_storage_class, cluster, place.storage_class))
    yield Check(subject=f"registry {place.registry.address}", ask=partial(_registry, place, tools))


def _context(place: ExistingSettings) -> Iterator[Answer]:
    problems = list(inspect_machine(place))
    for each in problems:
        yield problem(each.message, each.fix)
    if not problems:
        yield good("in the kubeconfig")


def _nodes(cluster: Cluster, request: PoolRequest) -> Iterator[Answer]:
    selector = quote(",".join(f"{key}={value}" for key, value in sorted(request.node_labels.items())))
    items = (cluster.get("/api/v1/nodes") or {}).get("items") or ()
    labelled = (cluster.get(f"/api/v1/nodes?labelSelector={selector}") or {}).get("items") or () if selector else ()
    there = {each["metadata"]["name"]: each for each in items}
    nodes = {name: there.get(name) for name in request.nodes} | {each["metadata"]["name"]: each for each in labelled}
    if not nodes:
        yield problem("no node carries the labels", "kubectl get nodes --show-labels shows what they carry")
    for name, node in nodes.items():
        fix = "kubectl get nodes shows what is there"
        if node is None:
            yield problem(f"{name} is not in the cluster", fix)
            continue
        conditions = {each["type"]: each["status"] for each in node["status"].get("conditions") or ()}
        resource = request.pool.gpu_resource
        count = int((node["status"].get("allocatable") or {}).get(resource, 0))
        if conditions.get("Ready") != "True":
            yield problem(f"{name} is not ready", f"kubectl describe node {name}")
        elif count < request.pool.gpus_per_node:
            fix = (
                "install NVIDIA's device plugin, or the GPU operator with gpuLayer.install: helm; or correct gpu.count"
            )
            yield problem(f"{name} offers {count} {resource}, the pool says {request.pool.gpus_per_node}", fix)
        else:
            yield good(f"{name} is ready, {count} {resource}")


def _claim(cluster: Cluster, place: ExistingSettings) -> Iterator[Answer]:
    name, mode = place.model_store.claim, place.model_store.access_mode
    claim = cluster.get(f"/api/v1/namespaces/{_MODELS}/persistentvolumeclaims/{name}")
    if claim is None:
        yield problem(f"is not in namespace {_MODELS}", "make it there, and fill it as docs/clouds/on-prem.md says")
    elif mode not in (claim["spec"].get("accessModes") or ()):
        modes = ", ".join(claim["spec"].get("accessModes") or ())
        yield problem(f"has {modes}", f"write one of them as modelStore.accessMode; it is {mode}")
    else:
        yield good(f"{claim.get('status', {}).get('phase')}, {mode}")


def _storage_class(cluster: Cluster, name: str | None) -> Iterator[Answer]:
    items = (cluster.get("/apis/storage.k8s.io/v1/storageclasses") or {}).get("items") or ()
    there = {each["metadata"]["name"]: each["metadata"].get("annotations") or {} for each in items}
    default = sorted(each for each, marks in there.items() if marks.get(_DEFAULT_CLASS) == "true")
    if name is not None and name not in there:
        yield problem(f"{name} is not there", f"write one of {', '.join(sorted(there)) or 'none: make one'}")
    elif name is None and not default:
        yield problem("the cluster has no default", f"write storageClass: {' or '.join(sorted(there)) or 'NAME'}")
    else:
        yield good(name or default[0])


def _registry(place: ExistingSettings, tools: Tools) -> Iterator[Answer]:
    """Ask the registry's API for its version, without credentials: 401 is the answer of one that wants them."""
    scheme = "http" if place.registry.insecure else "https"
    answer = tools.get(f"{scheme}://{place.registry.address.partition('/')[0]}/v2/")
    if answer.status_code in (200, 401):
        yield good("answers" + (", wants an account" if answer.status_code == 401 else ""))
    else:
        raise CannotAsk(f"it answers {answer.status_code} to /v2/", "correct registry.address")
