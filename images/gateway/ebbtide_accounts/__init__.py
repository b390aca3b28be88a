"""Keys and usage in a stack's PostgreSQL: the schema and its migrations, and the statements that the gateway sends.
Imported only where a stack has a database."""
