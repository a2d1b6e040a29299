"""An index of the WABAs that a browser named, if it named several in one login."""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    create_index_concurrently(
        "whatsapp_onboarding_session_waba_ids_idx",
        "whatsapp_onboarding USING gin (session_waba_ids) WHERE state = 'open'",
    )


def downgrade() -> None:
    execute("DROP INDEX whatsapp_onboarding_session_waba_ids_idx")
