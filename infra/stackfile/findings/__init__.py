"""What may be wrong with a stack file, how it is shown, and what a waiver allows for a while."""
