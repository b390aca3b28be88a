"""PostgreSQL in the cluster: one pod with a claim, for stacks without a database of their own."""

from components.embedded_database.database import EmbeddedDatabase
from components.embedded_database.objects import LABELS, SECRET, DatabaseSettings

__all__ = ["LABELS", "SECRET", "DatabaseSettings", "EmbeddedDatabase"]
