"""The table of the Cluster Autoscaler's priority expander, by which it tries a model's pools in order."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

CONFIG_MAP, NAMESPACE = "cluster-autoscaler-priority-expander", "kube-system"
"""Where the autoscaler looks. Source: kubernetes/autoscaler, cluster-autoscaler/expander/priority, readme.md."""


def priorities(preferences: Mapping[str, int]) -> dict[str, list[str]]:
    """Build the table: the highest number wins, and ``.*`` covers groups without a higher one. ``preferences`` are by a
    regular expression that finds the group's name and no other's."""
    table: dict[str, list[str]] = {"1": [".*"]}
    for group, preference in preferences.items():
        if preference:
            table.setdefault(str(preference + 1), []).append(group)
    return table


def config_map_data(preferences: Mapping[str, int]) -> dict[str, str]:
    """Return the table as the ConfigMap holds it: numbers in quotes would not be read."""
    table = {int(number): groups for number, groups in priorities(preferences).items()}
    return {"priorities": yaml.safe_dump(table)}
