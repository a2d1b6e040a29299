"""When each connection is checked next, and what the last checks of its token found."""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0013"
down_revision = "0012"

# Committed before the indexes, so it can run twice. No column has a value to be written.
UP = """
ALTER TABLE whatsapp_connections
    ADD COLUMN IF NOT EXISTS next_check_at timestamptz,  -- null: there is nothing to check
    ADD COLUMN IF NOT EXISTS token_debugged_at timestamptz,  -- when debug_token was asked
    ADD COLUMN IF NOT EXISTS token_reason text,  -- what is wrong with it
    ADD COLUMN IF NOT EXISTS token_doubt text,  -- a bad answer that was given once
    ADD COLUMN IF NOT EXISTS token_bad_since timestamptz,  -- the first bad answer in a row
    ADD COLUMN IF NOT EXISTS token_told text,  -- what the company was told last
    ADD COLUMN IF NOT EXISTS data_access_expires_at timestamptz;
"""

DOWN = """
DELETE FROM events WHERE type LIKE 'connection.token%' OR type LIKE 'connection.number%';
DELETE FROM connection_facts
WHERE name IN ('number_status', 'number_quality', 'number_name', 'number_limit');
UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL AND 'token' = ANY(rights);
DROP INDEX whatsapp_connections_next_check_idx, whatsapp_connections_checked_idx;
ALTER TABLE whatsapp_connections
    DROP COLUMN next_check_at, DROP COLUMN token_debugged_at, DROP COLUMN token_reason,
    DROP COLUMN token_doubt, DROP COLUMN token_bad_since, DROP COLUMN token_told,
    DROP COLUMN data_access_expires_at;
"""


def upgrade() -> None:
    execute(UP)
    create_index_concurrently(
        "whatsapp_connections_next_check_idx",
        "whatsapp_connections (next_check_at) WHERE next_check_at IS NOT NULL",
    )
    # All that the gauges and the look at the last checks read.
    create_index_concurrently(
        "whatsapp_connections_checked_idx",
        "whatsapp_connections (token_checked_at DESC, token_state, token_expires_at, token_doubt,"
        " token_bad_since) WHERE token_at IS NOT NULL",
    )


def downgrade() -> None:
    execute(DOWN)
