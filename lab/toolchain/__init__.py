"""What the lab runs, built from package registries where releases cannot be reached."""
