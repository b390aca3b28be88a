"""`make local`: from whatever state this machine is in to a model that has answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from components.platforms.local.facts import LocalFacts
from infra.local import (
    base_image,
    cluster,
    control_plane,
    debian,
    images,
    keda_build,
    machine,
    model_cache,
    plugins,
    pulumi_command,
    reachable,
    toolchain,
)
from infra.local.ask import Access, next_lines, show
from infra.local.commands import run_logged
from infra.local.paths import PROJECT, Paths, paths
from infra.local.problem import LocalProblem
from infra.local.progress import say, step

STACK = "local"
REGISTRY = f"127.0.0.1:{cluster.PORTS.registry}/ebbtide"
GATEWAY_URL = f"http://127.0.0.1:{cluster.PORTS.gateway}"
STATES = "pods that sleep are not waited for"
PROMPT = "What is the capital of France?"


def up(*, context: str | None = None, then_ask: bool = True) -> None:
    """Every step finds what an earlier run finished; whatever interrupted it, the same command goes on."""
    started = time.monotonic()
    at = paths()
    if context is not None:
        raise LocalProblem(
            f"--context {context}: a cluster of your own is a stack of its own",
            "copy stacks/Pulumi.onprem.yaml, name the context in it, and run `pulumi up -s onprem`",
        )
    if os.geteuid() != 0:
        raise LocalProblem("the local cluster needs root: it makes namespaces and cgroups", "run it with sudo")
    for folder in (at.cache, at.state):
        folder.mkdir(parents=True, exist_ok=True)
    at.state.chmod(0o700)
    sources = reachable.probe()
    say("Ebbtide local stack")
    for line in sources.told():
        say(f"  {line}")
    install_tools(at, sources)
    with step("cluster (2 nodes, Kubernetes 1.34, everything on loopback)"):
        cluster.start(at)
    facts = furnish(at, sources)
    with step("pulumi up -s local") as running:
        output = pulumi_up(at, running.note)
    access = record_access(at, facts)
    for line in output:
        say(f"    {line}")
    say(f"  up after {time.monotonic() - started:.0f} s")
    if then_ask:
        show(at, None, PROMPT, stream=False)
        say("\nAsk next:")
        say(next_lines(access))


def install_tools(at: Paths, sources: reachable.Reachable) -> None:
    """System packages, the Pulumi engine with its plugins, Kubernetes, KEDA."""
    log = at.cache / "logs" / "apt.log"
    absent = debian.missing()
    if absent:
        with step(f"system packages: {', '.join(absent)}") as running:
            debian.install(absent, log, running.note)
    programs = [toolchain.PULUMI, *toolchain.KUBERNETES, toolchain.REGISTRY, toolchain.COREDNS, toolchain.PAUSE]
    with step("tool chain") as running:
        count = [0]

        def starting(name: str) -> None:
            count[0] += 1
            say(f"    building {name}")

        toolchain.build(programs, at, lambda program: starting(program.name), running.note)
        toolchain.build_keda(at, starting, running.note)
    bin_dir = Path(sys.executable).parent
    pulumi_command.install(bin_dir)
    plugins.install(bin_dir, Path(sys.executable))


def furnish(at: Paths, sources: reachable.Reachable) -> LocalFacts:
    """Images, names, advertised GPUs and weights: all that the program takes for granted of a local place."""
    with step("platform images") as running:
        images.push_programs(at, f"{REGISTRY}/pause", ["pause"], running.note)
        coredns = images.push_programs(at, f"{REGISTRY}/coredns", ["coredns"], running.note)
        keda = images.push_programs(
            at, f"{REGISTRY}/keda", [program.name for program in keda_build.binaries()], running.note
        )
    with step("nodes Ready, names, advertised GPUs"):
        cluster.furnish(at, coredns)
    bases = {}
    if not sources.images:
        with step("base image from Debian packages") as running:
            bases["python"] = base_image.ensure_base(REGISTRY, at, running.note)
    with step("weights of SmolLM2-135M-Instruct") as running:
        model_cache.ensure_model(at, running.note, from_hub=sources.hub)
    facts = LocalFacts(
        kubeconfig=str(at.kubeconfig),
        context="ebbtide-local",
        registry=REGISTRY,
        models_dir=str(at.models),
        gpu_nodes=(control_plane.GPU.name,),
        gateway_url=GATEWAY_URL,
        node_port=control_plane.NODE_PORT_GATEWAY,
        base_images=bases,
        keda_image=keda,
        keda_manifests_dir=str(at.cache / "keda"),
    )
    facts.save(at.facts)
    return facts


def pulumi(at: Paths, *args: str) -> list[str]:
    return [
        str(Path(sys.executable).with_name("pulumi")),
        *args,
        "--stack",
        STACK,
        "--non-interactive",
        "--color=never",
    ]


def pulumi_up(at: Paths, note: object) -> list[str]:
    """Make the stack if need be and run `up`; the summary lines of its output."""
    log = at.logs / "pulumi-up.log"
    listed = subprocess.run(
        [pulumi(at)[0], "stack", "ls", "--json"], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    if listed.returncode != 0:
        raise LocalProblem(f"pulumi stack ls: {listed.stderr.strip()}", "see the message above")
    if STACK not in {each["name"] for each in json.loads(listed.stdout)}:
        run_logged([pulumi(at)[0], "stack", "init", STACK, "--non-interactive"], log, fix="see the log", cwd=PROJECT)
    # an interrupted `up` leaves its lock; nobody else writes this stack but this command, which holds no other
    subprocess.run([*pulumi(at, "cancel", "--yes")], capture_output=True, cwd=PROJECT, check=False)
    lines: list[str] = []

    def heard(line: str) -> None:
        lines.append(line.rstrip())
        assert callable(note)
        note(line)

    fix = "see the message above; what was made is kept, and the same command goes on"
    run_logged(pulumi(at, "up", "--yes", "--skip-preview"), log, fix=fix, note=heard, cwd=PROJECT)
    marks = [i for i, line in enumerate(lines) if line.startswith(("Resources:", "Outputs:"))]
    return [line for line in lines[marks[-1] if marks else -6 :] if line.strip()]


def record_access(at: Paths, facts: LocalFacts) -> Access:
    """The demo key and the models' names, for `ebbtide local ask` and nobody else."""
    done = subprocess.run(
        [*pulumi(at, "stack", "output", "--json", "--show-secrets")],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    if done.returncode != 0:
        raise LocalProblem(f"pulumi stack output: {done.stderr.strip()}", "see the message above")
    outputs = json.loads(done.stdout)
    keys = outputs["api_keys"]
    access = Access(facts.gateway_url, keys.get("demo") or next(iter(keys.values())), tuple(outputs["models"]))
    access.save(at)
    return access


def down(*, purge: bool) -> None:
    """End the cluster; with ``purge`` forget its data and the stack's state too."""
    at = paths()
    with step("ending the cluster"):
        cluster.stop(at)
    left = machine.cgroups_left()
    if left:
        raise LocalProblem(f"these cgroups did not go: {', '.join(map(str, left))}", "run `ebbtide local down` again")
    if purge:
        with step("deleting the cluster's data and the stack's state"):
            cluster.purge(at)
