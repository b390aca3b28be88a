"""Scale to zero and back: KEDA with its HTTP add-on, and one model's policy. The seam another engine would take."""
