"""What the Kubernetes stand-in decides without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.plugins.kube import drift, immutable, objects, ownership, readiness, settings
from infra.local.plugins.kube.awaiting import seconds_for
from infra.local.plugins.plugin import Call, Naming, RefusedError
from infra.local.plugins.properties import Secret

CALL = Call(urn="urn:pulumi:s::p::kubernetes:core/v1:ConfigMap::My", type="kubernetes:core/v1:ConfigMap", name="My")


def test_a_type_token_gives_api_version_and_kind() -> None:
    assert objects.group_version_kind("kubernetes:core/v1:Secret") == ("v1", "Secret")
    assert objects.group_version_kind("kubernetes:apps/v1:Deployment") == ("apps/v1", "Deployment")
    assert objects.group_version_kind("kubernetes:http.keda.sh/v1beta1:InterceptorRoute") == (
        "http.keda.sh/v1beta1",
        "InterceptorRoute",
    )


def test_a_patch_is_told_by_its_type_and_takes_the_kind_it_patches() -> None:
    assert objects.is_patch("kubernetes:core/v1:NodePatch", {"kind": "Node"})
    assert not objects.is_patch("kubernetes:x.io/v1:RoutePatch", {"kind": "RoutePatch"})
    assert objects.with_identity("kubernetes:core/v1:NodePatch", {})["kind"] == "Node"


def test_a_missing_name_is_made_up_once_and_kept() -> None:
    first = objects.autonamed(CALL, {"metadata": {}}, {}, Naming(b"seed"))
    name = first["metadata"]["name"]
    assert name.startswith("my-")
    assert len(name) == len("my-") + 7
    assert objects.autonamed(CALL, {"metadata": {}}, first, Naming(b"other"))["metadata"]["name"] == name
    assert objects.autonamed(CALL, {"metadata": {"name": "given"}}, first, Naming(b"x"))["metadata"] == {
        "name": "given"
    }


def test_what_is_sent_has_no_nulls_no_status_and_dashed_schema_keywords() -> None:
    inputs = {
        "kind": "X", "status": {"a": 1}, "spec": {"x_kubernetes_map_type": "atomic", "no": None, "s": Secret("v")},
        "metadata": {"name": "n", "creationTimestamp": None},
    }  # fmt: skip
    assert objects.to_send(inputs, "there") == {
        "kind": "X",
        "spec": {"x-kubernetes-map-type": "atomic", "s": "v"},
        "metadata": {"name": "n", "namespace": "there"},
    }


def test_what_a_secret_object_holds_is_secret_even_when_the_program_gave_it_plainly() -> None:
    shown = objects.hide({"apiVersion": "v1", "kind": "Secret", "data": {"a": "b"}, "stringData": {"c": "d"}}, {})
    assert shown["data"] == Secret({"a": "b"})
    assert shown["stringData"] == Secret({"c": "d"})


def managed(*entries: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    fields = [{"manager": m, "operation": op, "fieldsV1": f} for m, op, f in entries]
    return {"metadata": {"managedFields": fields}, "spec": {"replicas": 3}}


REPLICAS = {"f:spec": {"f:replicas": {}}}


def test_an_ignored_field_that_only_others_own_is_left_out_of_the_apply() -> None:
    thing = {"spec": {"replicas": 0, "paused": False}}
    ownership.leave_ignored(thing, managed(("keda", "Update", REPLICAS)), [("spec", "replicas")], "me")
    assert thing == {"spec": {"paused": False}}


def test_an_ignored_field_that_is_ours_or_nobodys_is_sent_as_it_is_now() -> None:
    for live in (managed(("me", "Apply", REPLICAS), ("keda", "Update", REPLICAS)), managed()):
        thing = {"spec": {"replicas": 0}}
        ownership.leave_ignored(thing, live, [("spec", "replicas")], "me")
        assert thing == {"spec": {"replicas": 3}}


def test_a_refresh_only_reports_fields_that_the_program_set() -> None:
    live = {"spec": {"replicas": 3, "strategy": {"type": "RollingUpdate"}}, "status": {"x": 1}}
    assert drift.owned(live, {"spec": {"replicas": 1}}, {}) == {"spec": {"replicas": 3}}


def test_quantities_that_mean_the_same_are_no_drift_and_other_texts_are() -> None:
    inputs = {"resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}, "args": ["1000m"]}
    live = {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "args": ["1"]}
    assert drift.owned(live, inputs, {}) == {**inputs, "args": ["1"]}
    live["resources"]["limits"]["cpu"] = "2"  # type: ignore[index, call-overload]
    assert drift.owned(live, inputs, {})["resources"]["limits"]["cpu"] == "2"


def test_empty_values_that_the_server_drops_are_no_drift() -> None:
    inputs = {"spec": {"securityContext": {}, "env": [], "hostNetwork": False, "name": "x"}}
    assert drift.owned({"spec": {"name": "x"}}, inputs, {}) == inputs


def test_items_that_others_added_to_a_keyed_list_are_not_ours_but_a_changed_value_list_is() -> None:
    fields = {"f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}}}, "f:args": {}}
    inputs = {"containers": [{"name": "a", "image": "i:1"}], "args": ["x"]}
    live = {"containers": [{"name": "sidecar"}, {"name": "a", "image": "i:2", "tty": True}], "args": ["x", "y"]}
    assert drift.owned(live, inputs, fields) == {"containers": [{"name": "a", "image": "i:2"}], "args": ["x", "y"]}


def test_string_data_of_a_secret_is_compared_with_what_the_server_made_of_it() -> None:
    live = {"kind": "Secret", "data": {"a": "b3RoZXI=", "foreign": "eA=="}}
    assert drift.owned(live, {"stringData": {"a": "mine"}}, {}) == {"stringData": {"a": "other"}}


def diff(old: dict[str, Any], new: dict[str, Any], **options: Any) -> Any:
    chosen = options.pop("settings", settings.Settings())
    return immutable.difference(
        old, new, options.pop("old_namespace", "default"), "default", chosen, [], patch=options.pop("patch", False)
    )


def config_map(data: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", **metadata}, "data": {"a": data}}


def test_leaving_the_namespace_out_and_naming_the_default_one_are_the_same() -> None:
    assert diff(config_map("1"), config_map("1", namespace="default")).changes == ()


def test_another_namespace_or_name_is_another_object() -> None:
    moved = diff(config_map("1"), config_map("1", namespace="other"))
    assert moved.replaces
    assert not moved.delete_first
    renamed = config_map("1")
    renamed["metadata"]["name"] = "other"
    assert diff(config_map("1"), renamed).replaces


def test_a_config_map_is_replaced_unless_the_provider_says_it_may_change() -> None:
    replaced = diff(config_map("1"), config_map("2"))
    assert replaced.replaces
    assert replaced.delete_first
    changed = diff(config_map("1"), config_map("2"), settings=settings.Settings(config_map_mutable=True))
    assert changed.changes
    assert not changed.replaces


def test_a_patch_changes_in_place_whatever_its_kind() -> None:
    assert not diff(config_map("1"), config_map("2"), patch=True).replaces


def live(kind: str, api_version: str = "v1", **parts: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "generation": 2}, **parts}


def test_a_deployment_at_zero_is_ready_at_once() -> None:
    assert readiness.state(live("Deployment", "apps/v1", spec={"replicas": 0})).phase == "ready"


def test_a_deployment_is_ready_when_every_replica_is_updated_available_and_seen() -> None:
    full = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    for change, phase in (
        ({}, "ready"),
        ({"observedGeneration": 1}, "waiting"),
        ({"replicas": 3}, "waiting"),
        ({"availableReplicas": 1}, "waiting"),
    ):
        found = live("Deployment", "apps/v1", spec={"replicas": 2}, status={**full, **change})
        assert readiness.state(found).phase == phase, change


def test_a_rollout_past_its_deadline_fails_with_the_controllers_words() -> None:
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]
    found = live("Deployment", "apps/v1", status={"observedGeneration": 2, "conditions": conditions})
    assert readiness.state(found) == readiness.State("failed", "rollout stopped: late")


def test_a_service_with_a_selector_waits_for_a_ready_address() -> None:
    service = live("Service", spec={"selector": {"a": "b"}})
    ready = readiness.Related(endpoint_slices=[{"endpoints": [{"conditions": {"ready": True}}]}])
    unready = readiness.Related(endpoint_slices=[{"endpoints": [{"conditions": {"ready": False}}]}])
    assert readiness.state(service, unready).phase == "waiting"
    assert readiness.state(service, ready).phase == "ready"
    assert readiness.state(live("Service", spec={"selector": {"a": "b"}, "clusterIP": "None"})).phase == "ready"


def test_a_pods_reasons_name_the_container_and_why() -> None:
    status = {
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}],
        "containerStatuses": [
            {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
             "lastState": {"terminated": {"exitCode": 137}}}
        ],
    }  # fmt: skip
    assert readiness.pod_reasons(live("Pod", status=status)) == [
        "Unschedulable: no GPU",
        "container c: CrashLoopBackOff: back-off (last exit code 137)",
    ]


def test_custom_timeouts_win_over_the_annotation_and_a_bad_annotation_is_named() -> None:
    annotated = {"metadata": {"annotations": {"pulumi.com/timeoutSeconds": "30"}}}
    assert seconds_for(CALL, annotated) == 30
    assert seconds_for(Call(urn="", type="", name="", timeout_seconds=5), annotated) == 5
    assert seconds_for(CALL, {}) == 600
    with pytest.raises(RefusedError, match=r"timeoutSeconds\"\]: 'soon' is not a number of seconds"):
        seconds_for(CALL, {"metadata": {"annotations": {"pulumi.com/timeoutSeconds": "soon"}}})


def kubeconfig(server: str) -> dict[str, Any]:
    return {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
    }


def test_an_equal_cluster_identifier_makes_another_kubeconfig_the_same_cluster() -> None:
    old = {"kubeconfig": yaml.safe_dump(kubeconfig("https://one")), "clusterIdentifier": "x"}
    new = {"kubeconfig": yaml.safe_dump(kubeconfig("https://two")), "clusterIdentifier": "x"}
    assert settings.difference(old, new).changes
    assert not settings.difference(old, new).replaces
    assert settings.difference(old, {**new, "clusterIdentifier": "y"}).replaces


def test_without_an_identifier_the_address_decides() -> None:
    one, other = (yaml.safe_dump(kubeconfig(server)) for server in ("https://one", "https://two"))
    assert settings.difference({"kubeconfig": one}, {"kubeconfig": other}).replaces
    assert not settings.difference({"kubeconfig": one}, {"kubeconfig": one + "preferences: {}\n"}).replaces


def test_an_unknown_context_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(RefusedError, match="no context 'b'; it has: 'a'"):
        settings.Settings(context="b").context_of(kubeconfig("https://one"))


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="gone cannot be read"):
        settings.Settings(kubeconfig=str(tmp_path / "gone")).load()


def test_certificate_paths_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig("https://one")))
    loaded = settings.Settings(kubeconfig=str(tmp_path / "config")).load()
    assert loaded["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "ca.crt")
