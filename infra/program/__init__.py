"""The resources that ``pulumi up`` builds from a judged stack file."""
