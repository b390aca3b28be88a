"""The gate: judgement of a change by the recorded graphs of its base and head, before anything is created."""
