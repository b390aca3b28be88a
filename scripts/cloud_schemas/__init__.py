"""Published schemas of the clouds' APIs, and what of the recorded graphs is held against them."""
