"""Dollars of each day by key and by group, and limits of them.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_STATEMENTS = (
    *(
        f"""
        ALTER TABLE ebbtide.{table}
            ADD COLUMN dollars_per_day double precision CHECK (dollars_per_day > 0),
            ADD COLUMN dollars_per_month double precision CHECK (dollars_per_month > 0)
        """
        for table in ("keys", "groups")
    ),
    # holder: 'group:NAME' or 'key:ID', as in token_days
    """
    CREATE TABLE ebbtide.dollar_days (
        holder text NOT NULL,
        day date NOT NULL,
        dollars double precision NOT NULL,
        PRIMARY KEY (holder, day)
    )
    """,
    # one row: until when everything is charged
    "CREATE TABLE ebbtide.charged (one boolean PRIMARY KEY DEFAULT true CHECK (one), until timestamptz NOT NULL)",
)


def upgrade() -> None:
    """Add them."""
    for statement in _STATEMENTS:
        op.execute(statement)
