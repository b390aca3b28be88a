"""Files, batches and their lines.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    """
    CREATE TABLE ebbtide.files (
        id text PRIMARY KEY,
        group_name text NOT NULL,
        name text NOT NULL,
        purpose text NOT NULL,
        bytes bigint NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX files_made_at ON ebbtide.files (group_name, made_at, id)",
    "CREATE INDEX files_expires_at ON ebbtide.files (expires_at)",
    """
    CREATE TABLE ebbtide.file_pieces (
        file_id text NOT NULL REFERENCES ebbtide.files ON DELETE CASCADE,
        number int NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (file_id, number)
    )
    """,
    # input_file is no foreign key: it may be deleted once it was read
    """
    CREATE TABLE ebbtide.batches (
        id text PRIMARY KEY,
        group_name text NOT NULL,
        key_id text NOT NULL,
        key_name text NOT NULL,
        endpoint text NOT NULL,
        input_file text NOT NULL,
        completion_window text NOT NULL,
        metadata jsonb,
        off_peak jsonb,
        status text NOT NULL CHECK (status IN (
            'validating', 'failed', 'in_progress', 'completed', 'expired', 'cancelling', 'cancelled'
        )),
        errors jsonb,
        made_at timestamptz NOT NULL DEFAULT now(),
        deadline timestamptz NOT NULL,
        begun_at timestamptz,
        cancelling_at timestamptz,
        ended_at timestamptz,
        total int NOT NULL DEFAULT 0,
        completed int NOT NULL DEFAULT 0,
        failed int NOT NULL DEFAULT 0,
        output_file text,
        error_file text
    )
    """,
    "CREATE INDEX batches_made_at ON ebbtide.batches (group_name, made_at, id)",
    "CREATE INDEX batches_going ON ebbtide.batches (status) WHERE ended_at IS NULL",
    # free_at: until then a worker has it, or it is left alone; NULL: it was never taken
    """
    CREATE TABLE ebbtide.batch_lines (
        batch_id text NOT NULL REFERENCES ebbtide.batches ON DELETE CASCADE,
        number int NOT NULL,
        custom_id text NOT NULL,
        model text NOT NULL,
        body bytea NOT NULL,
        attempts int NOT NULL DEFAULT 0,
        free_at timestamptz,
        taken_by uuid,
        ended_at timestamptz,
        status int,
        answer bytea,
        request_id text,
        PRIMARY KEY (batch_id, number)
    )
    """,
    "CREATE INDEX batch_lines_open ON ebbtide.batch_lines (batch_id, model, number) WHERE ended_at IS NULL",
    # lost with a crash of the database, which is as well: it holds for seconds
    "CREATE UNLOGGED TABLE ebbtide.busy_models (model text PRIMARY KEY, until timestamptz NOT NULL)",
)


def upgrade() -> None:
    """Create them."""
    for statement in _STATEMENTS:
        op.execute(statement)
