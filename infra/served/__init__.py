"""A stack that is up, as a client sees it: its address and key from Pulumi's outputs, its models' states, an answer."""
