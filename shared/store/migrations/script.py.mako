"""${message}."""

from shared.store.migrations.statements import execute

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    execute("")


def downgrade() -> None:
    execute("")
