"""An index of the connections that have no check to come, for the job that gives them one."""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0015"
down_revision = "0014"

DOWN = """
DROP INDEX whatsapp_connections_unscheduled_idx;
"""


def upgrade() -> None:
    create_index_concurrently(
        "whatsapp_connections_unscheduled_idx",
        "whatsapp_connections (waba_id) WHERE next_check_at IS NULL AND token_at IS NOT NULL",
    )


def downgrade() -> None:
    execute(DOWN)
