"""Rules between a place's settings and the rest of the stack; then the place's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from components.catalog.gpus import gpus
from components.catalog.versions import pinned
from components.gpu_layer.judge import judge_gpu_layer
from components.platforms.kinds import KINDS, kind_of
from components.platforms.kubernetes_support import judge_support
from components.typed.fields import StackModel
from components.typed.refusal import Path, Problem
from components.typed.rules.file import KEY_MISSING, MANIFESTS_NOT_LOCAL
from components.typed.rules.pools import CAPACITY_BLOCK_INVALID, MIG_PROFILE_INVALID
from components.typed.rules.stack import GATEWAY_WITHOUT_KEYS, HOST_WITHOUT_TLS, OPEN_TO_INTERNET, VOLUME_ON_ONE_NODE
from infra.stackfile.limits import limits
from infra.stackfile.own_networks import is_too_wide, open_to_all, public_share
from infra.stackfile.partial import Draft, Part
from infra.stackfile.pool_order import named
from infra.stackfile.pool_request import pool_request
from infra.stackfile.schema.pool import PoolConfig

AT: Path = ("platform",)
_NETWORKS = "networks"


def judge_place(draft: Draft) -> Iterator[Problem]:
    """Yield all problems of the place that its own fields do not show alone."""
    if draft.place is None:
        return
    settings: Any = draft.platform
    sound = {name: pool_request(part.value) for name, part in draft.pools.items() if not part.broken}
    judge = kind_of(settings).judge()
    problems: Iterable[Problem] = judge(settings, sound, draft.environment or "") if judge is not None else ()
    own = [problem for problem in problems if draft.place.judged(problem.path)]
    if draft.gpu_layer_install == "helm":
        own += judge_gpu_layer(sound, settings.kind, _cuda(draft))
    own += judge_support(settings, draft.today) if draft.place.judged((*AT, "cluster")) else ()
    yield from own
    # a place's own problem with a value is more precise than that of the rules all places share
    own_paths = {problem.path for problem in own}
    yield from (problem for problem in _common(settings, draft, own_paths) if problem.path not in own_paths)
    yield from _claim(settings, draft)
    yield from _manifests(draft)


def _cuda(draft: Draft) -> str | None:
    """Return the CUDA version of the engine's image; None if unknown: the stack's own base may be built for any."""
    own = draft.image is not None and (draft.image.broken or draft.image.value.base is not None)
    return None if own else pinned("vllm").cuda


def _common(settings: Any, draft: Draft, own_paths: Container[Path]) -> Iterator[Problem]:
    yield from _open_networks(settings, AT)
    yield from _doors(settings, draft)
    for name, part in draft.pools.items():
        if not any(("pools", name, key) in own_paths for key in ("capacity", "reservation", "capacityBlock")):
            yield from _purchase(part, ("pools", name))
        if part.sound("gpu", "sharing"):
            yield from _slices(part.value, ("pools", name, "sharing", "mig"))
        if kind_of(settings).makes_nodes and part.raw.get("machine") is None:
            path, allowed = ("pools", name, "machine"), "a machine with GPUs that the platform sells"
            yield KEY_MISSING.at(path, "is missing", allowed=allowed, fix="add machine: and its name")


def _purchase(part: Part[PoolConfig], at: Path) -> Iterator[Problem]:
    pool = part.value
    if part.sound("capacity_block", "reservation") and pool.capacity_block and pool.reservation is None:
        message, fix = "says nothing without the block's id", "add reservation: and the block's id"
        yield CAPACITY_BLOCK_INVALID.at(
            (*at, "capacityBlock"), message, allowed="capacityBlock beside reservation", fix=fix, value=True
        )
    if part.sound("capacity", "reservation") and pool.capacity == "spot" and pool.reservation is not None:
        message, fix = "cannot be used by spot nodes", "take reservation out, or set capacity: onDemand"
        yield CAPACITY_BLOCK_INVALID.at(
            (*at, "reservation"),
            message,
            allowed="a reservation with capacity: onDemand",
            fix=fix,
            value=pool.reservation,
        )


def _slices(pool: PoolConfig, at: Path) -> Iterator[Problem]:
    """Check that the pool's cards can be cut into the slices asked for."""
    if pool.sharing is None or pool.sharing.mig is None:
        return
    known, profile = gpus().get(pool.gpu.product or ""), pool.sharing.mig.profile
    if known is None:
        able = ", ".join(name for name, gpu in gpus().items() if gpu.can_be_cut)
        message = f"cannot be planned: {pool.gpu.product or 'a card without product'} is not in the catalogue"
        yield MIG_PROFILE_INVALID.at(at, message, allowed=able, fix="set gpu.product to the catalogue's name for it")
    elif not known.mig:
        able = ", ".join(name for name, gpu in gpus().items() if gpu.can_be_cut)
        message = f"is not possible: {pool.gpu.product} cannot be cut into slices"
        yield MIG_PROFILE_INVALID.at(at, message, allowed=able, fix="use timeSlicing, or another machine")
    elif profile not in known.mig:
        fix = "use one of them"
        yield MIG_PROFILE_INVALID.at(
            (*at, "profile"),
            f"is not a slice of {pool.gpu.product}",
            allowed=", ".join(known.mig),
            fix=fix,
            value=profile,
        )


def _open_networks(shape: StackModel, at: Path) -> Iterator[Problem]:
    """Check every list of networks in the settings, whatever the place opens with it."""
    for name, field in type(shape).model_fields.items():
        value, path = getattr(shape, name), (*at, field.alias or name)
        if isinstance(value, StackModel):
            yield from _open_networks(value, path)
        elif name.endswith(_NETWORKS) and isinstance(value, tuple):
            yield from _open_list(value, path)


def _open_list(networks: Sequence[str], path: Path) -> Iterator[Problem]:
    """Check each network, then all together. A text that is no network has a finding of its place's."""
    allowed = "networks of your own, like 10.0.0.0/8 or 203.0.113.7/32"
    fix = "name the networks that have to reach it"
    try:
        parsed = [ipaddress.ip_network(network, strict=False) for network in networks]
    except ValueError:
        return
    wide = [(index, network) for index, network in enumerate(parsed) if is_too_wide(network)]
    for index, network in wide:
        message = "is larger than anybody's own network" if network.prefixlen else "is the whole internet"
        yield OPEN_TO_INTERNET.at((*path, index), message, allowed=allowed, fix=fix, value=networks[index])
    if not wide and open_to_all(networks):
        share = f"{public_share(networks):.1%} of all addresses of the internet"
        message = f"lets {share} in with its {len(networks)} networks together, more than anybody's own"
        allowed = f"together at most as many as one {_most()} has; private networks beside them"
        yield OPEN_TO_INTERNET.at(path, message, allowed=allowed, fix=fix)


def _most() -> str:
    most = limits().networks
    return f"/{most.ipv4} (IPv6: /{most.ipv6})"


def _doors(settings: Any, draft: Draft) -> Iterator[Problem]:
    ingress, at = getattr(settings, "ingress", None), (*AT, "ingress")
    if ingress is None or (draft.place is not None and not draft.place.judged(at)):
        return
    public = getattr(ingress, "public", False)
    balanced = getattr(ingress, "service_type", None) == "LoadBalancer"
    if public and not getattr(ingress, "allowed_networks", ("unknown",)):
        message = "is missing: public: true without it opens the gateway to the whole internet"
        allowed, fix = "networks of your own, like 203.0.113.7/32", "name the networks that have to reach it"
        path = (*at, "allowedNetworks")
        yield OPEN_TO_INTERNET.at(path, message, allowed=allowed, fix=fix)
    if (public or balanced) and not draft.keys:
        path, value = ((*at, "public"), True) if public else ((*at, "serviceType"), "LoadBalancer")
        message, allowed = "opens the gateway while no key says who may ask", "at least one key under gateway.keys"
        yield GATEWAY_WITHOUT_KEYS.at(
            path, message, allowed=allowed, fix="add a group and a key under gateway", value=value
        )
    host = getattr(ingress, "host", None)
    if host is not None and not getattr(ingress, "certificate", None):
        message = "has no TLS: keys and prompts would cross the network in clear"
        fix = "add certificate: and the one the place holds for this host"
        yield HOST_WITHOUT_TLS.at(
            (*at, "host"), message, allowed="a host with a certificate beside it", fix=fix, value=host
        )


def _claim(settings: Any, draft: Draft) -> Iterator[Problem]:
    """Check a ReadWriteOnce volume: mounted on one node at a time, it makes a replica elsewhere wait for ever."""
    mode = getattr(getattr(settings, "model_store", None), "access_mode", None)
    models = [p for p in draft.models.values() if p.sound("pool", "max", "nodes")]
    if mode != "ReadWriteOnce" or sum(part.value.max * part.value.nodes for part in models) < 2:
        return
    used = {name for part in models if part.value.max > 0 for name in named(part)}
    nodes = sum(part.value.max for name, part in draft.pools.items() if name in used and part.sound("max"))
    if nodes > 1:
        message = f"is mounted on one node at a time, and the models' replicas may run on {nodes}"
        fix = "keep the weights on a claim that many nodes may read, or let one pool with max: 1 serve all models"
        path = (*AT, "modelStore", "accessMode")
        yield VOLUME_ON_ONE_NODE.at(path, message, allowed="ReadOnlyMany or ReadWriteMany", fix=fix, value=mode)


def _manifests(draft: Draft) -> Iterator[Problem]:
    """Refuse manifests on other clusters: they and the image they run are on this machine, and cannot be pulled."""
    local = next(iter(KINDS))
    if draft.idle_scaling_install == "manifests" and draft.platform is not None and draft.platform.kind != local:
        path, message = ("idleScaling", "install"), "is what the local set-up renders, for the local platform alone"
        fix = "write helm, or existing where the cluster has KEDA and its HTTP add-on"
        yield MANIFESTS_NOT_LOCAL.at(
            path, message, allowed="helm or existing on this platform", fix=fix, value=draft.idle_scaling_install
        )
