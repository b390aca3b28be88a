"""Every NetworkPolicy of the stack, enforced (by kube-router): what each kind of pod reaches, and what it does not.

Connections are tried from inside the product's own pods, and from strangers' in every namespace of the stack.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.ask import NAMESPACE
from lab.machine import kubernetes
from lab.machine.control_plane import API_SERVICE, CONTROL_ADDRESS
from tests.lab import network
from tests.lab.conftest import FIRST, SECOND, Lab, deployment_of, wait_until

PROBE = """
import json, socket, sys

def reached(place):
    host, port = place.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True

print(json.dumps([reached(each) for each in sys.argv[1:]]))
"""
SERVES = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8000)"
# no other way is open to any of the pods below; strangers are pods that no policy names
OPEN_TO = {
    "first model": {"gateway"},
    "second model": {"gateway"},
    "gateway": {"stranger", "stranger beside it"},
    "gateway's metrics": {"wake-keeper", "stranger", "stranger beside it"},
    "wake-keeper": {"stranger", "stranger beside it"},
    "interceptor": {"gateway", "stranger", "stranger beside it"},
    "API server": {"gateway", "wake-keeper", "stranger", "stranger beside it"},
    "names": {"gateway", "wake-keeper", "stranger", "stranger beside it"},
    "health of names": {"stranger", "stranger beside it"},
    "kubelet": {"stranger", "stranger beside it"},
    "stranger": {"stranger beside it"},
    "stranger among models": set(),
}
ITSELF = {
    ("gateway", "gateway"),
    ("gateway", "gateway's metrics"),
    ("wake-keeper", "wake-keeper"),
    ("first model", "first model"),
    ("stranger", "stranger"),
    ("stranger among models", "stranger among models"),
}
STRANGERS = {"stranger": "default", "stranger beside it": "ebbtide", "stranger among models": NAMESPACE}


def stranger(name: str, namespace: str, image: str) -> dict[str, Any]:
    """A pod as any program's: confined as each namespace asks, with a server at port 8000."""
    confined = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "serves", "image": image, "command": ["python3", "-c", SERVES], "securityContext": confined}
    return {
        "metadata": {"name": name.replace(" ", "-"), "namespace": namespace},
        "spec": {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0},
    }


@pytest.fixture(scope="module")
def strangers(quick: Lab) -> Iterator[Mapping[str, dict[str, Any]]]:
    """Pods that are none of the product's, running, by name."""
    image = quick.get(deployment_of("gateway"))["spec"]["template"]["spec"]["containers"][0]["image"]
    paths = {name: f"/api/v1/namespaces/{space}/pods" for name, space in STRANGERS.items()}
    for name, space in STRANGERS.items():
        quick.api.post(paths[name], json=stranger(name, space, image)).raise_for_status()
    try:
        yield {name: running(quick, f"{path}/{name.replace(' ', '-')}") for name, path in paths.items()}
    finally:
        for name, path in paths.items():
            quick.api.delete(f"{path}/{name.replace(' ', '-')}").raise_for_status()


def running(lab: Lab, path: str) -> dict[str, Any]:
    wait_until(lambda: lab.get(path)["status"].get("podIP"), 60, f"{path} has an address")
    return lab.get(path)


def one_pod(lab: Lab, namespace: str, labels: str) -> dict[str, Any]:
    pods = lab.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={labels}")["items"]
    return dict(next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"]))


def reached_from(lab: Lab, pod: dict[str, Any], places: list[str]) -> list[bool]:
    at = pod["metadata"]
    argv = ["exec", "--namespace", at["namespace"], at["name"], "--", "python3", "-c", PROBE, *places]
    return list(json.loads(kubernetes.kubectl(lab.paths, *argv)))


def reached_by_the_nodes(lab: Lab, places: list[str]) -> list[bool]:
    """From the nodes' own network, which no policy binds: somebody listens at each of these places."""

    def reached() -> list[bool]:
        network.enter(lab.paths)
        answers = []
        for place in places:
            host, _, port = place.partition(":")
            with socket.socket() as probe:
                probe.settimeout(2)
                answers.append(probe.connect_ex((host, int(port))) == 0)
        return answers

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(reached).result()


def test_every_pod_reaches_what_it_must_and_nothing_else(quick: Lab, strangers: Mapping[str, dict[str, Any]]) -> None:
    named = {each["metadata"]["name"] for each in quick.get("/apis/networking.k8s.io/v1/networkpolicies")["items"]}
    assert named == {"default-deny", FIRST, SECOND, "gateway", "wake-keeper"}, "each of them is tried below"
    quick.wake(FIRST)
    quick.wake(SECOND)
    pods = {
        "gateway": one_pod(quick, "ebbtide", "app.kubernetes.io/name=gateway"),
        "wake-keeper": one_pod(quick, "ebbtide", "app.kubernetes.io/name=wake-keeper"),
        "first model": quick.pods(FIRST)[0],
        **strangers,
    }
    of_pod = {name: pod["status"]["podIP"] for name, pod in pods.items()}
    names = one_pod(quick, "kube-system", "k8s-app=kube-dns")["status"]["podIP"]
    interceptor = one_pod(quick, "keda", "app.kubernetes.io/instance=interceptor")["status"]["podIP"]
    places = {
        "first model": f"{of_pod['first model']}:8000",
        "second model": f"{quick.pods(SECOND)[0]['status']['podIP']}:8000",
        "gateway": f"{of_pod['gateway']}:4000",
        "gateway's metrics": f"{of_pod['gateway']}:9090",
        "wake-keeper": f"{of_pod['wake-keeper']}:9090",
        "interceptor": f"{interceptor}:8080",
        "API server": f"{API_SERVICE}:443",
        "names": f"{names}:5353",
        "health of names": f"{names}:8181",
        "kubelet": f"{CONTROL_ADDRESS}:10250",
        "stranger": f"{of_pod['stranger']}:8000",
        "stranger among models": f"{of_pod['stranger among models']}:8000",
    }
    assert list(places) == list(OPEN_TO)
    wait_until(lambda: all(reached_by_the_nodes(quick, list(places.values()))), 30, "somebody listens everywhere")
    reached_by = {
        name: dict(zip(places, reached_from(quick, pod, list(places.values())), strict=True))
        for name, pod in pods.items()
    }
    other = {(who, place): reached_by[who][place] for who in pods for place in places if (who, place) not in ITSELF}
    wrong = {way: is_open for way, is_open in other.items() if is_open != (way[0] in OPEN_TO[way[1]])}
    assert not wrong, f"open or shut against what is said: {wrong}"
    assert list(other.values()).count(False) > 30
