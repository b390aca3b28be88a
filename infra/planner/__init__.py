"""Pure judgement of a stack before any of it exists: what fits, how long a wake takes, what it costs."""
