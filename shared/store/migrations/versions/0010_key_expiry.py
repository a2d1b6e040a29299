"""API keys end by themselves, and tell when they were last used."""

from shared.store.migrations.statements import execute

revision = "0010"
down_revision = "0009"

UP = """
ALTER TABLE api_keys ADD COLUMN expires_at timestamptz, ADD COLUMN last_used_on date;
"""

DOWN = """
ALTER TABLE api_keys DROP COLUMN expires_at, DROP COLUMN last_used_on;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
