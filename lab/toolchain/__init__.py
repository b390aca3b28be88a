"""Programs and images that the lab runs, built from package registries where releases cannot be reached."""
