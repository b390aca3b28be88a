"""Scale to zero and back: KEDA with its HTTP add-on, and one model's policy. Another engine would go in its place."""
