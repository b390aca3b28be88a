"""Lives of nodes and pods, and until when a request went on in whose engine.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = (
    # ended_at NULL: it goes on, or nobody saw its end; nothing counts after seen_at
    """
    CREATE TABLE ebbtide.node_lives (
        uid text PRIMARY KEY,
        name text NOT NULL,
        pool text NOT NULL,
        gpus int NOT NULL CHECK (gpus >= 0),
        usd_per_hour numeric CHECK (usd_per_hour >= 0),
        standing boolean NOT NULL,
        began_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        ended_at timestamptz
    )
    """,
    "CREATE INDEX node_lives_began_at ON ebbtide.node_lives (began_at)",
    # began_at: from when it holds the GPUs of its node
    """
    CREATE TABLE ebbtide.pod_lives (
        uid text PRIMARY KEY,
        model text NOT NULL,
        node_name text NOT NULL,
        gpus int NOT NULL CHECK (gpus >= 0),
        began_at timestamptz NOT NULL,
        ready_at timestamptz,
        seen_at timestamptz NOT NULL,
        ended_at timestamptz
    )
    """,
    "CREATE INDEX pod_lives_began_at ON ebbtide.pod_lives (began_at)",
    # NULL in the rows of before: they are charged nothing
    "ALTER TABLE ebbtide.usage ADD COLUMN ended_at timestamptz, ADD COLUMN served_by text",
)


def upgrade() -> None:
    """Create them."""
    for statement in _STATEMENTS:
        op.execute(statement)
