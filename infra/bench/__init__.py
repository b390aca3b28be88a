"""``ebbtide bench``: how fast a served model is, for one and for many at once, and what the way to it costs."""
