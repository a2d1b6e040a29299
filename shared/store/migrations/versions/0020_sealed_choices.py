"""The WABAs that a customer may choose from, sealed: their names are Meta's text."""

from shared.store.migrations.statements import execute

revision = "0020"
down_revision = "0019"

# What is stored in clear cannot be sealed here. Who has a choice to make logs in again.
UP = """
UPDATE whatsapp_onboarding SET reason = 'session_needed' WHERE reason = 'waba_choice_needed';
ALTER TABLE whatsapp_onboarding ADD COLUMN sealed_waba_choices bytea, DROP COLUMN waba_choices;
"""

DOWN = """
UPDATE whatsapp_onboarding SET reason = 'session_needed' WHERE reason = 'waba_choice_needed';
ALTER TABLE whatsapp_onboarding ADD COLUMN waba_choices jsonb, DROP COLUMN sealed_waba_choices;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
