"""Environment of Alembic: the connection and its transaction are the caller's (``ebbtide_accounts.migrate``)."""

from alembic import context
from ebbtide_accounts.versions import SCHEMA

context.configure(connection=context.config.attributes["connection"], version_table_schema=SCHEMA)
context.run_migrations()
