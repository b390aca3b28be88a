"""A model store that is a folder on the nodes: one read-only volume, bound by name, mounted into every model's pod."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.contract import Weights

MOUNT = "/models"
VOLUME = "models"


def folder_name(model_id: str) -> str:
    """Return the folder of a Hugging Face id: all but letters, digits, ``.``, ``_`` and ``-`` becomes ``--``."""
    return re.sub(r"[^A-Za-z0-9._-]", "--", model_id)


def mounted_weights(model_id: str, claim: str) -> Weights:
    """Return the pod's view of a store whose claim is called ``claim``."""
    return Weights(
        path=f"{MOUNT}/{folder_name(model_id)}/model",
        volumes=({"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},),
        mounts=({"name": VOLUME, "mountPath": MOUNT, "readOnly": True},),
    )


@dataclass(frozen=True)
class FolderStore:
    """A store in ``folder``, a path on every serving node. Nothing is copied; deleting the volume deletes no file."""

    folder: str
    provider: k8s.Provider
    claim: str = "models"
    upload: None = None

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Create a volume over the folder and the claim that binds exactly it. The administrator's volume has the host
        path, so that the pods' own security level can stay ``restricted``."""
        size = {"storage": "100Gi"}  # a host path enforces none; a claim must name one
        volume = k8s.core.v1.PersistentVolume(
            "models",
            metadata={"name": "ebbtide-models"},
            spec=k8s.core.v1.PersistentVolumeSpecArgs(
                capacity=size,
                access_modes=["ReadOnlyMany"],
                persistent_volume_reclaim_policy="Retain",
                host_path=k8s.core.v1.HostPathVolumeSourceArgs(path=self.folder, type="Directory"),
                claim_ref=k8s.core.v1.ObjectReferenceArgs(name=self.claim, namespace=namespace),
            ),
            opts=opts,
        )
        claim = k8s.core.v1.PersistentVolumeClaim(
            "models",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=self.claim, namespace=namespace),
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadOnlyMany"],
                storage_class_name="",  # no class, like the volume; if left out, it would be the cluster's default
                volume_name=volume.metadata.name,
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests=size),
            ),
            opts=opts,
        )
        return [volume, claim]

    def weights(self, model_id: str, revision: str) -> Weights:
        return mounted_weights(model_id, self.claim)


@dataclass(frozen=True)
class ClaimStore:
    """Weights on a claim that the cluster's administrator keeps (``existing``); nothing is created."""

    claim: str
    upload: None = None

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        return []

    def weights(self, model_id: str, revision: str) -> Weights:
        return mounted_weights(model_id, self.claim)
