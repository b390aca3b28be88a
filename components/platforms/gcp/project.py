"""Which project this is, asked before anything is made."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp


def confirmed_number(project: str, provider: gcp.Provider) -> str:
    """The project's number, as Google Cloud tells it to these credentials.

    Raises RunError where they do not see the project, or see another one: nothing has been made by then.
    """
    at = f"platform.project: {project!r}"
    fix = f"log in to an account that may see it (gcloud auth application-default login), or mend {at}"
    try:
        found = gcp.organizations.get_project(project_id=project, opts=pulumi.InvokeOptions(provider=provider))
    except Exception as error:  # the engine's own, whose class is no part of its interface
        raise pulumi.RunError(f"{at} is not visible to these credentials: {error}; {fix}") from None
    if found.project_id != project or not found.number:
        seen = found.project_id or "no project"
        raise pulumi.RunError(f"{at} was asked for and {seen!r} answered; {fix}")
    return str(found.number)
