"""The WABAs that a customer may choose from, sealed: their names are Meta's text."""

from shared.store.migrations.statements import execute

revision = "0020"
down_revision = "0019"

# What is stored in one form cannot be given the other here. Who has a choice to make logs in again,
# and what was chosen of a login that proved nothing does not count for the next one.
FORGET = """
LOCK TABLE whatsapp_onboarding IN ACCESS EXCLUSIVE MODE;
UPDATE whatsapp_onboarding SET reason = 'session_needed'
WHERE reason = 'waba_choice_needed' AND state = 'open';
UPDATE whatsapp_onboarding SET session_waba_id = NULL
WHERE {} IS NOT NULL AND state = 'open' AND proven_at IS NULL AND token IS NULL;
"""
UP = """
ALTER TABLE whatsapp_onboarding ADD COLUMN sealed_waba_choices bytea, DROP COLUMN waba_choices;
"""
DOWN = """
ALTER TABLE whatsapp_onboarding ADD COLUMN waba_choices jsonb, DROP COLUMN sealed_waba_choices;
"""


def upgrade() -> None:
    execute(FORGET.format("waba_choices") + UP)


def downgrade() -> None:
    execute(FORGET.format("sealed_waba_choices") + DOWN)
