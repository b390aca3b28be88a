"""What an engine would do, told from two recorded graphs."""

from __future__ import annotations

from infra.gate.diff import Changed, diff
from tests.policies.stack import Stack, entry, kube, urn

POOL = "aws:eks/nodeGroup:NodeGroup"


def changes(base: Stack, head: Stack) -> dict[str, Changed]:
    return {change.name: change for change in diff(base.resources, head.resources)}


def test_nothing_changes_between_a_graph_and_itself() -> None:
    assert diff(Stack().resources, Stack().resources) == []


def test_a_larger_max_is_an_update_in_place_and_another_machine_a_replacement() -> None:
    head = Stack()
    head.inputs("NodeGroup")["scalingConfig"]["maxSize"] = 9
    assert changes(Stack(), head)["gpu-1xa10"].action == "updated"
    head.inputs("NodeGroup")["instanceTypes"] = ["p5.48xlarge"]
    change = changes(Stack(), head)["gpu-1xa10"]
    assert (change.action, change.forced, change.known) == ("replaced", ("instanceTypes[0]",), True)


def test_what_the_autoscaler_owns_is_no_change() -> None:
    head = Stack()
    head.inputs("NodeGroup")["scalingConfig"]["desiredSize"] = 2
    head.inputs("Deployment")["spec"]["replicas"] = 3
    assert changes(Stack(), head) == {}


def test_protected_resources_and_deletions_come_first() -> None:
    head = Stack()
    head.resources.remove(head.find("bucket:Bucket"))
    head.resources.remove(head.find("ResourceQuota"))
    head.resources.append(kube("core/v1:ConfigMap", "new", {"data": {}}))
    changes = diff(Stack().resources, head.resources)
    assert [(c.name, c.action, c.protected) for c in changes] == [
        ("models", "deleted", True),
        ("gpu-guard-resourcequota", "deleted", False),
        ("new-configmap", "created", False),
    ]


def test_a_pool_under_another_name_of_the_program_is_a_replacement_even_where_its_own_name_stays() -> None:
    head = Stack()
    pool = head.find("NodeGroup")
    pool["urn"], pool["name"] = pool["urn"].replace("::gpu-1xa10", "::other"), "other"
    change = changes(Stack(), head)["other"]
    assert (change.action, change.protected) == ("replaced", True)
    assert change.was.endswith("::gpu-1xa10")


def test_an_alias_keeps_a_resource_unless_it_hides_what_cannot_change_in_place() -> None:
    head = Stack()
    pool = head.find("NodeGroup")
    pool["aliases"], pool["name"] = [pool["urn"]], "other"
    pool["urn"] = pool["urn"].replace("::gpu-1xa10", "::other")
    assert changes(Stack(), head) == {}
    pool["inputs"]["nodeGroupNamePrefix"] = "other-"
    change = changes(Stack(), head)["other"]
    assert (change.action, change.forced) == ("replaced", ("nodeGroupNamePrefix",))


def test_what_hangs_on_the_id_of_a_replaced_resource_is_replaced_with_it() -> None:
    tag = {"autoscalingGroupName": f"${{{urn(POOL, 'gpu-1xa10', 'ebbtide:platforms:AwsGpuPool')}#resources[0].name}}"}
    base, head = Stack(), Stack()
    for stack in (base, head):
        stack.resources.append(entry("aws:autoscaling/tag:Tag", "tag", dict(tag)))
    head.inputs("NodeGroup")["instanceTypes"] = ["p5.48xlarge"]
    assert changes(base, head)["tag"].action == "replaced"


def test_taking_protection_away_is_a_change_of_its_own() -> None:
    head = Stack()
    head.find("bucket:Bucket")["protect"] = False
    change = changes(Stack(), head)["models"]
    assert (change.action, change.protected, change.paths) == ("updated", True, ("protect",))


def test_a_type_nobody_has_looked_up_says_that_a_replacement_is_not_known() -> None:
    base, head = Stack(), Stack()
    base.resources.append(entry("aws:made/up:Thing", "thing", {"size": 1}))
    head.resources.append(entry("aws:made/up:Thing", "thing", {"size": 2}))
    change = changes(base, head)["thing"]
    assert (change.action, change.known) == ("updated", False)
    assert "not known" in change.why


def test_an_objects_name_or_namespace_cannot_change_in_place() -> None:
    head = Stack()
    head.inputs("Deployment")["metadata"]["namespace"] = "elsewhere"
    assert changes(Stack(), head)["llama-deployment"].forced == ("metadata.namespace",)
