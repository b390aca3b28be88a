"""The gateway's front: authenticates, admits and wakes, with LiteLLM behind it in the same process."""
