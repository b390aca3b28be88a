"""The clusters that the stack may run on: one made here, kind, or the user's own."""
