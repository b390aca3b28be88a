"""The gateway: authenticates, admits and wakes, then relays bytes between the client and a replica of the model."""
