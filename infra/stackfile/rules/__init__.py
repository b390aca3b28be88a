"""Rules between the fields of a stack file; each needs only the fields it names."""
