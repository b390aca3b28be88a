"""The gateway: authenticates, admits and wakes, then passes bytes between the client and a replica of the model."""
