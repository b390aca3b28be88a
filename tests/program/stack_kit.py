"""The whole program on a stack file, told to a recorder instead of an engine: what `pulumi up` would be asked for."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import runpy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import yaml
from google.protobuf import json_format
from pulumi.runtime import config as runtime_config
from pulumi.runtime import mocks

from components.platforms.local.facts import LocalFacts

PROJECT = Path(__file__).parents[2]
STACKS = PROJECT / "stacks"
SECRET_MARK = ("4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270")
BUILT = {"gateway-image": "1" * 64, "vllm-cpu": "2" * 64, "vllm-cuda": "3" * 64}
LETTERS = "Zq7"
KEDA_IMAGE = "127.0.0.1:5000/ebbtide/keda@sha256:" + "4" * 64
BASE_IMAGE = "127.0.0.1:5000/ebbtide/base-python@sha256:" + "5" * 64


@dataclass(frozen=True)
class Recorded:
    """One registration as it went over the wire: ``inputs`` in the API's own spelling, without the secret marks;
    ``secrets`` are the paths that carried one."""

    urn: str
    type: str
    name: str
    custom: bool
    parent: str
    provider: str
    protected: bool
    dependencies: frozenset[str]
    ignored: tuple[str, ...]
    secret_outputs: frozenset[str]
    inputs: dict[str, Any]
    secrets: frozenset[str]

    @property
    def kind(self) -> str:
        """The last part of the type: ``Deployment``."""
        return self.type.rpartition(":")[2]

    @property
    def pod(self) -> dict[str, Any]:
        """The pod of a Deployment."""
        return dict(self.inputs["spec"]["template"]["spec"])

    @property
    def object_name(self) -> str:
        """What Kubernetes will call it."""
        return str(self.inputs["metadata"]["name"])


def _unmark(value: Any, at: str, secrets: set[str]) -> Any:
    if isinstance(value, dict):
        if value.get(SECRET_MARK[0]) == SECRET_MARK[1]:
            secrets.add(at)
            return _unmark(value["value"], at, secrets)
        return {key: _unmark(child, f"{at}.{key}".lstrip("."), secrets) for key, child in value.items()}
    if isinstance(value, list):
        return [_unmark(child, f"{at}[{index}]", secrets) for index, child in enumerate(value)]
    return value


class _Outputs(mocks.Mocks):
    """What providers would answer with, as far as the program reads it."""

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if args.typ == "docker-build:index:Image":
            outputs["ref"] = f"registry/{args.name}@sha256:{BUILT[args.name]}"
        if args.typ == "random:index/randomPassword:RandomPassword":
            outputs["result"] = secret_letters(args.name)
        return f"{args.name}-id", outputs


def secret_letters(key: str) -> str:
    """What the made-up engine makes of a random password, so that a test can look for it where it must not be."""
    return f"{LETTERS}-{key}"


class _Monitor(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(_Outputs())
        self.recorded: list[Recorded] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the SDK's name
        if request.type != "pulumi:pulumi:Stack":
            secrets: set[str] = set()
            inputs = _unmark(json_format.MessageToDict(request.object), "", secrets)
            self.recorded.append(
                Recorded(
                    urn=self.make_urn(request.parent, request.type, request.name),
                    type=request.type,
                    name=request.name,
                    custom=request.custom,
                    parent=request.parent,
                    provider=request.provider,
                    protected=bool(request.protect),
                    dependencies=frozenset(request.dependencies),
                    ignored=tuple(request.ignoreChanges),
                    secret_outputs=frozenset(request.additionalSecretOutputs),
                    inputs=inputs,
                    secrets=frozenset(secrets),
                )
            )
        return super().RegisterResource(request)


@dataclass
class Graph:
    """All that one run of the program asked for; ``exports`` hold values and whether each was a secret."""

    recorded: list[Recorded] = field(default_factory=list)
    exports: dict[str, tuple[Any, bool]] = field(default_factory=dict)

    def of(self, kind: str) -> list[Recorded]:
        return [r for r in self.recorded if r.kind == kind]

    def one(self, kind: str, name: str | None = None) -> Recorded:
        matches = [r for r in self.of(kind) if name is None or r.object_name == name]
        assert len(matches) == 1, f"{len(matches)} of {kind} {name or ''}: {[r.urn for r in matches]}"
        return matches[0]

    def kubernetes(self) -> list[Recorded]:
        return [r for r in self.recorded if r.type.startswith("kubernetes:")]

    def models(self) -> list[Recorded]:
        """The models' Deployments."""
        return [r for r in self.of("Deployment") if r.inputs["metadata"]["namespace"] == "ebbtide-models"]

    def gateway(self) -> Recorded:
        return self.one("Deployment", "gateway")

    def before(self, resource: Recorded) -> set[str]:
        """Every resource that exists before ``resource`` and goes after it, at any distance. A child is registered
        after its component, which waits for what the component depends on; on destroy it is the other way round."""
        known = {r.urn: r for r in self.recorded}
        passed: set[str] = set()
        queue = [resource.parent, *resource.dependencies]
        while queue:
            urn = queue.pop()
            if urn in known and urn not in passed:
                passed.add(urn)
                queue += [known[urn].parent, *known[urn].dependencies]
        return passed


def strings(value: Any) -> Iterator[str]:
    """Every text in a nest of mappings and lists, keys included."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield str(key)
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)
    else:
        yield str(value)


def sections(stack: str) -> dict[str, Any]:
    """What a stack file of the project says under ``config``, as a copy to change."""
    return dict(yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text())["config"])


def local_facts(manifests: Path) -> LocalFacts:
    """What a machine with the local cluster would say of itself."""
    return LocalFacts(
        kubeconfig="/state/kubeconfig",
        context="ebbtide-local",
        registry="127.0.0.1:5000/ebbtide",
        models_dir="/cache/models",
        gpu_nodes=("ebbtide-gpu",),
        gateway_url="http://127.0.0.1:4000",
        node_port=30400,
        base_images={"python": BASE_IMAGE},
        keda_image=KEDA_IMAGE,
        keda_manifests_dir=str(manifests),
    )


def write_manifests(folder: Path) -> None:
    """As few rendered documents as the engine accepts: its Deployments and one of each other sort."""
    container = {"name": "c", "image": "to-be-replaced", "env": [], "resources": {}}
    pod = {"securityContext": {"runAsNonRoot": True}, "containers": [container]}

    def document(api: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
        space = {} if kind in ("Namespace", "APIService", "CustomResourceDefinition") else {"namespace": "keda"}
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": {}, **space}, **more}

    def deployment(name: str) -> dict[str, Any]:
        return document("apps/v1", "Deployment", name, spec={"template": {"spec": pod}})

    crd = document("apiextensions.k8s.io/v1", "CustomResourceDefinition", "scaledobjects.keda.sh")
    crd["spec"] = {"versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": {"type": "object"}}}]}
    keda = [
        document("v1", "Namespace", "keda"),
        crd,
        document("apiregistration.k8s.io/v1", "APIService", "v1beta1.external.metrics.k8s.io", spec={}),
        *map(deployment, ("keda-operator", "keda-metrics-apiserver", "keda-admission")),
    ]
    proxy = document("v1", "Service", "keda-add-ons-http-interceptor-proxy", spec={"type": "ClusterIP"})
    parts = ("interceptor", "scaler", "operator")
    add_on = [proxy, *(deployment(f"keda-add-ons-http-{part}") for part in parts)]
    (folder / "keda.yaml").write_text(yaml.safe_dump_all(keda))
    (folder / "keda-http-add-on.yaml").write_text(yaml.safe_dump_all(add_on))


def own_program() -> None:
    """Ebbtide's own program, as the language host starts it."""
    runpy.run_module("infra", run_name="__main__")


def run(
    stack: str,
    config: Mapping[str, Any],
    state: Path,
    graph: Graph | None = None,
    started: Callable[[], None] = own_program,
) -> Graph:
    """Run ``infra`` as the language host would, with ``config`` as the stack's values and ``state`` as the machine's
    own folder. What was recorded before an error stays in the ``graph`` handed in."""
    graph = graph if graph is not None else Graph()
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor = _Monitor()
    graph.recorded = monitor.recorded
    mocks.set_mocks(_Outputs(), project="ebbtide", stack=stack, preview=False, monitor=monitor)
    exported: dict[str, Any] = {}

    def program() -> pulumi.Output[None]:
        started()
        values = {
            name: pulumi.Output.all(pulumi.Output.unsecret(value), value.is_secret())
            for name, value in ((n, pulumi.Output.from_input(v)) for n, v in exported.items())
        }
        return pulumi.Output.all(**values).apply(
            lambda all_: graph.exports.update({n: (v, s) for n, (v, s) in all_.items()})
        )

    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    before = dict(runtime_config.CONFIG.get())
    runtime_config.set_all_config(text, [])
    here = Path.cwd()
    try:
        os.chdir(PROJECT / "infra")  # where the language host starts the program
        with (
            mock.patch.object(pulumi, "export", exported.__setitem__),
            mock.patch.dict(os.environ, {"EBBTIDE_STATE": str(state)}),
        ):
            pulumi.runtime.test(program)()
    finally:
        os.chdir(here)
        runtime_config.set_all_config(before, [])
    return graph


def run_local(
    config: Mapping[str, Any],
    state: Path,
    graph: Graph | None = None,
    started: Callable[[], None] = own_program,
) -> Graph:
    """The same with the local cluster up."""
    write_manifests(state)
    local_facts(state).save(state / "facts.json")
    return run("local", config, state, graph, started)


@functools.cache
def graph_of(stack: str) -> Graph:
    """The graph of one of the project's own stack files, run once."""
    with tempfile.TemporaryDirectory() as folder:
        if stack == "local":
            return run_local(sections(stack), Path(folder))
        return run(stack, sections(stack), Path(folder))
