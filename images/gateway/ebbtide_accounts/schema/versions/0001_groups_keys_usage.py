"""Groups, keys and usage.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    # groups made at run time; those of a stack file are not in it, and win over one of the same name
    """
    CREATE TABLE ebbtide.groups (
        name text PRIMARY KEY,
        models text[] NOT NULL,
        wake text[],
        max_wakes_per_day int CHECK (max_wakes_per_day > 0),
        requests_per_minute int CHECK (requests_per_minute > 0),
        made_by text NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now(),
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # group_name is no foreign key: most groups are the stack file's
    """
    CREATE TABLE ebbtide.keys (
        id text PRIMARY KEY,
        name text NOT NULL,
        group_name text NOT NULL,
        sha256 bytea UNIQUE CHECK (octet_length(sha256) = 32),
        last_four text NOT NULL CHECK (length(last_four) = 4),
        made_by text NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now(),
        changed_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        suspended_at timestamptz,
        deleted_at timestamptz,
        last_used_at timestamptz,
        CHECK ((sha256 IS NULL) = (deleted_at IS NOT NULL))
    )
    """,
    "CREATE UNIQUE INDEX keys_name ON ebbtide.keys (name) WHERE deleted_at IS NULL",
    "CREATE INDEX keys_changed_at ON ebbtide.keys (changed_at)",
    # status NULL: the request goes on, or its gateway was killed in its middle
    """
    CREATE TABLE ebbtide.usage (
        id uuid PRIMARY KEY,
        request_id text NOT NULL,
        at timestamptz NOT NULL,
        group_name text NOT NULL,
        key_id text NOT NULL,
        key_name text NOT NULL,
        model text NOT NULL,
        tokens_in bigint,
        tokens_out bigint,
        tokens_cached bigint,
        wait_seconds double precision NOT NULL,
        first_token_seconds double precision,
        status int,
        complete boolean NOT NULL,
        woke boolean NOT NULL
    )
    """,
    "CREATE INDEX usage_at ON ebbtide.usage (at)",
)


def upgrade() -> None:
    """Create them."""
    for statement in _STATEMENTS:
        op.execute(statement)
