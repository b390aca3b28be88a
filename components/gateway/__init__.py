"""The OpenAI-compatible front: keys, groups, routes, the wake guard."""
