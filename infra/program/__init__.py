"""What ``pulumi up`` builds from a stack file that was judged."""
