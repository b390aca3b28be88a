"""Pods with GPUs find their pool, and only that."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import gpu_pools
from infra.policies.model import Graph, Outcome, Rule, each
from infra.policies.node_choice import choices
from infra.policies.pods import Pod, pods
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    places = [(pool.labels, pool.taints) for pool in gpu_pools(graph)]
    for node in graph.of_kind("NodePatch"):
        labels = {key: str(value) for key, value in (look(node.inputs, "metadata.labels") or {}).items()}
        taints = [
            (str(t["key"]), str(look(t, "value", "")), str(t["effect"])) for t in look(node.inputs, "spec.taints") or ()
        ]
        places.append((labels, taints))
    if not places:
        return  # nodes that another stack or a provisioner makes: their labels are not in this graph

    def pod(found: Pod) -> Iterator[Outcome]:
        if not found.gpus:
            return
        alternatives = choices(found.spec)
        if not alternatives:
            yield found.owner.violation(f"{found.at}.nodeSelector", "is missing: the pod may land in any pool")
        for choice in alternatives:
            fitting = [taints for labels, taints in places if choice.takes(labels)]
            if not fitting:
                yield found.owner.violation(f"{found.at}.{choice.at}", f"matches no pool: {choice.keys}")
            elif not any(all(_tolerated(taint, found.spec) for taint in taints) for taints in fitting):
                yield found.owner.violation(f"{found.at}.tolerations", "do not cover the taints of the pool it selects")

    yield from each(pods(graph), pod, "stack:models")


def _tolerated(taint: tuple[str, str, str], spec: object) -> bool:
    key, value, effect = taint
    if effect == "PreferNoSchedule":
        return True
    for toleration in look(spec, "tolerations") or ():
        same_key = look(toleration, "key", "") in (key, "")
        same_value = look(toleration, "operator", "Equal") == "Exists" or str(look(toleration, "value", "")) == value
        if same_key and same_value and look(toleration, "effect", effect) == effect:
            return True
    return False


RULE = Rule(
    id="placement",
    title="Selectors and tolerations of pods with GPUs match a pool",
    reason="a selector no node carries leaves the pod pending for ever; a toleration too few does the same",
    key="models.<model>.pool",
    fix="name a pool of this stack, and leave labels and taints to it",
    scope="stack",
    judge=judge,
)
