"""The assignment of an existing cluster's nodes to pools: nodes named, and nodes found by their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pulumi

from components.platforms.contract import PoolRequest

Find = Callable[[Mapping[str, str], str, str], tuple[str, ...]]

ASK_SECONDS = 20


def needs_lookup(request: PoolRequest) -> bool:
    """Return True if the cluster must be asked for the pool's nodes. Nodes that carry the pool's labels already and get
    no taint need nothing put on them, and nodes that join later belong to the pool as well."""
    carried = request.pool.labels.items() <= request.node_labels.items()
    return bool(request.node_labels) and bool(request.pool.taints or not carried)


def nodes_of(
    pools: Mapping[str, PoolRequest], kubeconfig: str, context: str, find: Find | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the names of each pool's nodes, in a stable order. Raises ``pulumi.RunError`` if the cluster cannot be
    asked, if two pools find one node or a pool finds none, and in an update if a named node does not exist; a preview
    without a cluster warns and goes on without."""
    ask = find or nodes_with
    _refuse_absent(pools, kubeconfig, context, ask)
    nodes: dict[str, tuple[str, ...]] = {}
    owners: dict[str, str] = {}
    for name, request in pools.items():
        more = _ask(name, request, kubeconfig, context, ask) if needs_lookup(request) else ()
        nodes[name] = (*request.nodes, *(node for node in more if node not in request.nodes))
        for node in nodes[name]:
            first = owners.setdefault(node, name)
            if first != name:
                raise pulumi.RunError(
                    f"pools.{name}.nodeLabels: node {node} belongs to pool {first} too; allowed: labels that no node "
                    f"of another pool carries; fix: add a label that tells the two apart"
                )
    return nodes


def _refuse_absent(pools: Mapping[str, PoolRequest], kubeconfig: str, context: str, ask: Find) -> None:
    """Raise for a named node that is not there: a patch would make it, an empty object for which pods wait in vain."""
    named = {node: name for name, request in pools.items() for node in request.nodes}
    if not named or pulumi.runtime.is_dry_run():
        return
    try:
        there = ask({}, kubeconfig, context)
    except Exception:  # as below; the patches will report that the cluster does not answer
        return
    for node in sorted(named.keys() - there):
        raise pulumi.RunError(
            f"pools.{named[node]}.nodes: the cluster of context {context} has no node {node}; allowed: "
            f"{', '.join(there)}; fix: look at kubectl --context {context} get nodes"
        )


def _ask(name: str, request: PoolRequest, kubeconfig: str, context: str, find: Find) -> tuple[str, ...]:
    labels = ",".join(f"{key}={value}" for key, value in sorted(request.node_labels.items()))
    try:
        nodes = find(request.node_labels, kubeconfig, context)
    except Exception as error:  # the client raises its transport's errors; all mean that the cluster does not answer
        message = (
            f"pools.{name}.nodeLabels: the cluster of context {context} cannot be asked for nodes with {labels} "
            f"({type(error).__name__}); allowed: a cluster that answers; fix: try kubectl --context {context} get "
            f"nodes -l {labels}, or name the nodes under nodes"
        )
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(message) from None
        pulumi.log.warn(message)
        return ()
    if not nodes and not request.nodes:
        raise pulumi.RunError(
            f"pools.{name}.nodeLabels: no node carries {labels}; allowed: labels that at least one node carries; "
            f"fix: look at kubectl --context {context} get nodes --show-labels"
        )
    return nodes


def nodes_with(labels: Mapping[str, str], kubeconfig: str, context: str) -> tuple[str, ...]:
    """Return the names of the nodes that carry all these labels, sorted. Reads; changes nothing."""
    from kubernetes import client, config

    connect = cast("Callable[..., Any]", config.new_client_from_config)
    with connect(config_file=kubeconfig, context=context, persist_config=False) as api:
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        answer = client.CoreV1Api(api).list_node(label_selector=selector, _request_timeout=ASK_SECONDS)
        return tuple(sorted(node.metadata.name for node in answer.items if node.metadata and node.metadata.name))
