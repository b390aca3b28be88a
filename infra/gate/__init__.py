"""What a stack would ask for, before anybody is asked: the recorded graph."""
