"""Batches of requests: files, jobs and their lines in PostgreSQL, which is the queue. Nothing here asks an engine."""
