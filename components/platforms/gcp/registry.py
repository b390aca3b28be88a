"""Artifact Registry: one repository for the stack's images."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp

from components.platforms.contract import About, Registry, RegistryAuth
from components.platforms.gcp.names import fitted, labels

_KEPT_VERSIONS = 20
_UNTAGGED_DAYS = 14
_USER = "oauth2accesstoken"


def address(region: str, project: str, repository: str) -> str:
    """Return where images go: ``europe-west4-docker.pkg.dev/acme/ebbtide-gcp-prod``. A project of a domain
    (``example.com:acme``) has its colon written as a slash. Source: Artifact Registry documentation, Repository and
    image names."""
    return f"{region}-docker.pkg.dev/{project.replace(':', '/')}/{repository}"


def repository_args(region: str, about: About) -> gcp.artifactregistry.RepositoryArgs:
    """Build a repository with immutable tags, scanned as the project's setting says, without old untagged images."""
    return gcp.artifactregistry.RepositoryArgs(
        location=region,
        repository_id=fitted(about.name, 63),
        format="DOCKER",
        mode="STANDARD_REPOSITORY",
        description=f"Images of {about.name}",
        labels=labels(about),
        docker_config=gcp.artifactregistry.RepositoryDockerConfigArgs(immutable_tags=True),
        # scanning itself is switched on with the API containerscanning.googleapis.com, once per project
        vulnerability_scanning_config=gcp.artifactregistry.RepositoryVulnerabilityScanningConfigArgs(
            enablement_config="INHERITED"
        ),
        cleanup_policy_dry_run=False,
        cleanup_policies=[
            gcp.artifactregistry.RepositoryCleanupPolicyArgs(
                id="keep-newest",
                action="KEEP",
                most_recent_versions=gcp.artifactregistry.RepositoryCleanupPolicyMostRecentVersionsArgs(
                    keep_count=_KEPT_VERSIONS
                ),
            ),
            # tagged images stay: a pod may run one by digest long after the last push
            gcp.artifactregistry.RepositoryCleanupPolicyArgs(
                id="delete-untagged",
                action="DELETE",
                condition=gcp.artifactregistry.RepositoryCleanupPolicyConditionArgs(
                    tag_state="UNTAGGED", older_than=f"{_UNTAGGED_DAYS * 24 * 3600}s"
                ),
            ),
        ],
    )


class GcpRegistry(pulumi.ComponentResource):
    """A Docker repository in the cluster's region, private, that the nodes may pull from. At rest it costs the images'
    storage (docs/clouds/gcp.md). Images are pushed with the deployer's own short-lived token."""

    registry: Registry
    ready: tuple[pulumi.Resource, ...]

    def __init__(
        self,
        region: str,
        project: str,
        about: About,
        node_member: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:GcpRegistry", "registry", None, opts)
        args = repository_args(region, about)
        images = gcp.artifactregistry.Repository(
            "images", args, opts=pulumi.ResourceOptions(parent=self, protect=about.protect or None)
        )
        pull = gcp.artifactregistry.RepositoryIamMember(
            "nodes-may-pull",
            project=project,
            location=region,
            repository=images.repository_id,
            role="roles/artifactregistry.reader",
            member=node_member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        who = gcp.organizations.get_client_config_output(opts=pulumi.InvokeOutputOptions(parent=self))
        # through the repository's own output, so that nothing is pushed before it exists
        where = images.repository_id.apply(lambda repository: address(region, project, repository))
        self.registry = Registry(
            address=where,
            auth=RegistryAuth(username=_USER, password=pulumi.Output.secret(who.access_token)),
        )
        self.ready = (images, pull)
        self.register_outputs({"address": where})
