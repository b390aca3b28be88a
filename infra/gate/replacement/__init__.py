"""Which properties of a resource cannot change in place: the providers' data, and what differs between two sets."""
