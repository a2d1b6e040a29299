"""What the page where customers connect counts, offers, shows, and where it leads afterwards."""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0017"
down_revision = "0016"

# Committed before the index, so it can run twice. No column has a value to be written.
UP = """
ALTER TABLE whatsapp_onboarding
    ADD COLUMN IF NOT EXISTS codes smallint NOT NULL DEFAULT 0,  -- what was sent by its link
    ADD COLUMN IF NOT EXISTS messages smallint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS pins smallint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS session_waba_ids text[],  -- when the browser named several
    ADD COLUMN IF NOT EXISTS waba_choices jsonb,  -- what the token reaches: [{"waba_id", "name"}]
    ADD COLUMN IF NOT EXISTS return_url text;
ALTER TABLE organizations
    ADD COLUMN IF NOT EXISTS display_name text,
    ADD COLUMN IF NOT EXISTS logo_url text;
"""

# Who has a choice to make logs in again.
DOWN = """
DROP INDEX whatsapp_onboarding_useless_token_idx;
UPDATE whatsapp_onboarding SET reason = 'waba_ambiguous' WHERE reason = 'waba_choice_needed';
ALTER TABLE whatsapp_onboarding
    DROP COLUMN codes, DROP COLUMN messages, DROP COLUMN pins,
    DROP COLUMN session_waba_ids, DROP COLUMN waba_choices, DROP COLUMN return_url;
ALTER TABLE organizations DROP COLUMN display_name, DROP COLUMN logo_url;
"""


def upgrade() -> None:
    execute(UP)
    create_index_concurrently(
        "whatsapp_onboarding_useless_token_idx",
        "whatsapp_onboarding (id) WHERE token IS NOT NULL AND state <> 'open'",
    )


def downgrade() -> None:
    execute(DOWN)
