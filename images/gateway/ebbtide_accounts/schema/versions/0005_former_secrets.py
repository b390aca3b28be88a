"""Former secrets of keys that were renewed, for as long as both are taken.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add them."""
    op.execute(
        """
        ALTER TABLE ebbtide.keys
            ADD COLUMN former_sha256 bytea UNIQUE CHECK (octet_length(former_sha256) = 32),
            ADD COLUMN former_until timestamptz,
            ADD CHECK ((former_sha256 IS NULL) = (former_until IS NULL))
        """
    )
