"""Limits of keys, and the tokens of each day by key and by group.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    """
    ALTER TABLE ebbtide.keys
        ADD COLUMN requests_per_minute int CHECK (requests_per_minute > 0),
        ADD COLUMN tokens_per_minute bigint CHECK (tokens_per_minute > 0),
        ADD COLUMN tokens_per_day bigint CHECK (tokens_per_day > 0),
        ADD COLUMN tokens_per_month bigint CHECK (tokens_per_month > 0),
        ADD COLUMN concurrent_requests int CHECK (concurrent_requests > 0),
        ADD COLUMN max_wakes_per_day int CHECK (max_wakes_per_day > 0)
    """,
    # Sums of the table usage, written with its rows: a month of a busy group may be millions of them.
    # holder: 'group:NAME' or 'key:ID'; day: UTC's, on which the requests began
    """
    CREATE TABLE ebbtide.token_days (
        holder text NOT NULL,
        day date NOT NULL,
        tokens bigint NOT NULL,
        PRIMARY KEY (holder, day)
    )
    """,
    # a gateway of before goes on to write until it is replaced: what it writes from here on is in no sum
    "LOCK TABLE ebbtide.usage IN SHARE ROW EXCLUSIVE MODE",
    """
    INSERT INTO ebbtide.token_days
    SELECT holder, (at AT TIME ZONE 'UTC')::date, sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0))
    FROM ebbtide.usage, LATERAL (VALUES ('group:' || group_name), ('key:' || key_id)) AS of (holder)
    WHERE status IS NOT NULL AND coalesce(tokens_in, 0) + coalesce(tokens_out, 0) > 0
    GROUP BY 1, 2
    """,
)


def upgrade() -> None:
    """Add them."""
    for statement in _STATEMENTS:
        op.execute(statement)
