"""Limits of groups that are made at run time.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add them."""
    op.execute(
        """
        ALTER TABLE ebbtide.groups
            ADD COLUMN tokens_per_minute bigint CHECK (tokens_per_minute > 0),
            ADD COLUMN tokens_per_day bigint CHECK (tokens_per_day > 0),
            ADD COLUMN tokens_per_month bigint CHECK (tokens_per_month > 0),
            ADD COLUMN concurrent_requests int CHECK (concurrent_requests > 0)
        """
    )
