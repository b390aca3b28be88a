"""Steps of `make local`, from whatever state this machine is in to a model that has answered."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from infra.console import say, step
from infra.errors import LocalProblem
from infra.workspace import PROJECT, Paths, paths
from lab import build_stamps, docker, pulumi_command, pulumi_engine, readiness, stale_locks
from lab.ask import Access, next_lines, show
from lab.clusters import selection
from lab.clusters.base import LocalCluster
from lab.clusters.choice import Choice, ClusterOptions
from lab.machine import debian
from lab.machine.kubernetes import kubectl
from lab.machine.kubernetes import purge as forget
from lab.processes import run_logged
from lab.pulumi_engine import Engine
from lab.toolchain import go_programs, pulumi_release, reachable

# without the second sentence, rounding on a processor with AMX makes the small model answer in French
PROMPT = "What is the capital of France? Answer in one word."


def up(*, options: ClusterOptions | None = None, then_ask: bool = True) -> None:
    """Bring the stack up. Every step finds what an earlier run finished: after any interruption, run it again."""
    at = paths()
    with build_stamps.exclusive(
        at.state / "up.lock", lambda: say("another `ebbtide local up` is at work; waiting for it")
    ):
        _up(at, options=options, then_ask=then_ask)


def _up(at: Paths, *, options: ClusterOptions | None, then_ask: bool) -> None:
    started = time.monotonic()
    for folder in (at.cache, at.state):
        folder.mkdir(parents=True, exist_ok=True)
    at.state.chmod(0o700)
    pulumi_engine.refuse_stand_ins_state(at)
    sources, docker_answers = reachable.probe(), docker.answers()
    choice = selection.find(at, options or ClusterOptions(), docker_answers=docker_answers, images=sources.images)
    cluster = selection.cluster_of(choice, at)
    releases = sources.pulumi or pulumi_release.is_installed(at)
    chosen = pulumi_engine.choose(pulumi_engine.recorded(at), releases=releases, docker=docker_answers)
    say("Ebbtide local stack")
    for line in (f"Pulumi engine: {chosen.description()}", *sources.description(choice.kind)):
        say(f"  {line}")
    cluster.refuse()
    choice.save(at)
    install_tools(at, cluster, chosen)
    with step(cluster.title):
        cluster.start()
    facts = cluster.furnish(sources)
    facts.save(at.facts)
    with step("pulumi up -s local") as running:
        output = pulumi_up(at, running.note)
    access = Access.record(at, facts.gateway_url)
    with step("platform ready") as running:
        readiness.wait(at, cluster.since(), running.note, facts.gateway_url)
    for line in output:
        say(f"    {line}")
    say(f"  up after {time.monotonic() - started:.0f} s")
    if then_ask:
        show(at, None, PROMPT, stream=False)
        say("\nAsk next:")
        say(next_lines(access))


def install_tools(at: Paths, cluster: LocalCluster, chosen: Engine) -> None:
    """Install system packages, the Pulumi engine with its plugins, the cluster's programs and KEDA."""
    needed = cluster.packages() | ({"buildah"} if pulumi_engine.IMAGE_BUILDER in chosen.stand_ins else set())
    absent = [package for package in debian.missing() if package in needed]
    if absent:
        with step(f"system packages: {', '.join(absent)}") as running:
            debian.install(absent, at.cache / "logs" / "apt.log", running.note)
    if chosen.official and not pulumi_release.is_installed(at):
        with step(f"Pulumi {pulumi_release.VERSION}, the official release") as running:
            pulumi_release.ensure(at, running.note)
    programs = [*([] if chosen.official else [go_programs.PULUMI]), *cluster.programs()]
    with step("tool chain") as running:
        total, begun = go_programs.to_build(programs, at), itertools.count(1)

        def starting(name: str) -> None:
            is_program = not name.startswith(go_programs.MANIFESTS)
            message = f"building {name} ({next(begun)} of {total})" if is_program else f"building {name}"
            say(f"    {message}")
            running.part(message)

        go_programs.build(programs, at, lambda program: starting(program.name), running.note)
        go_programs.build_in_copies(programs, at, starting, running.note)
        go_programs.forget_compiled(at)
    pulumi_engine.settle(chosen, at, Path(sys.prefix))
    pulumi_command.install(Path(sys.executable).parent)


def stacks(at: Paths) -> dict[str, int]:
    """Return the back-end's stacks, each with the number of its resources. Raises ``LocalProblem``."""
    try:
        listed = subprocess.run(
            [pulumi_command.on_local_stack()[0], "stack", "ls", "--json"],
            capture_output=True,
            text=True,
            cwd=PROJECT,
            check=False,
            env={**os.environ, "EBBTIDE_OWN_BACKEND": "1"},
        )
    except OSError:
        raise LocalProblem("the pulumi program is not there", "run `make local` or `ebbtide local up`") from None
    if listed.returncode != 0:
        raise LocalProblem(f"pulumi stack ls: {listed.stderr.strip()}", "see the message above")
    return {each["name"]: int(each.get("resourceCount") or 0) for each in json.loads(listed.stdout)}


def cluster_identity(at: Paths) -> str:
    """Return an id that a cluster made later under the same name, with nothing of the stack in it, does not share."""
    return kubectl(at, "get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")


def pulumi_up(at: Paths, note: object) -> list[str]:
    """Create the stack if need be and run `up`; return the summary lines of its output."""
    log = at.logs / "pulumi-up.log"
    if pulumi_command.STACK not in stacks(at):
        run_logged(
            [pulumi_command.on_local_stack()[0], "stack", "init", pulumi_command.STACK, "--non-interactive"],
            log,
            fix="see the log",
            cwd=PROJECT,
        )
    stale_locks.settle(at.pulumi_backend, lambda: say("    another pulumi is at work on this machine; waiting for it"))
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line.rstrip())
        assert callable(note)
        note(line)

    fix = "see the message above; what was made is kept, and the same command goes on"
    cluster_id, deployed = cluster_identity(at), at.state / "deployed-to"
    moved = deployed.exists() and not build_stamps.is_done(deployed, cluster_id)
    refresh = ["--refresh"] if moved else []  # what the state lists is not in this cluster
    if not moved:
        build_stamps.mark_done(deployed, cluster_id)
    run_logged(
        pulumi_command.on_local_stack("up", "--yes", "--skip-preview", *refresh),
        log,
        fix=fix,
        note=on_line,
        cwd=PROJECT,
    )
    build_stamps.mark_done(deployed, cluster_id)
    marks = [i for i, line in enumerate(lines) if line.startswith(("Resources:", "Outputs:"))]
    return [line for line in lines[marks[-1] if marks else -6 :] if line.strip()]


def down(*, purge: bool) -> None:
    """End the cluster; with ``purge`` delete its data and the stack's state too."""
    at = paths()
    with build_stamps.exclusive(
        at.state / "up.lock", lambda: say("`ebbtide local up` is at work; waiting for it to end")
    ):
        _down(at, purge=purge)


def _down(at: Paths, *, purge: bool) -> None:
    choice = Choice.load(at)
    if purge and choice and choice.kind == "context" and stacks(at).get(pulumi_command.STACK):
        raise LocalProblem(
            f"the stack is still in the cluster of the context {choice.options.context}",
            f"run `.venv/bin/pulumi destroy --yes --stack {pulumi_command.STACK}`, then this again",
        )
    with step("ending the cluster"):
        selection.recorded(at).stop()
    if purge:
        with step("deleting the cluster's data and the stack's state"):
            forget(at)
