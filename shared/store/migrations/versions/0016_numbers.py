"""Numbers with steps, failures and limits of their own; failed calls to Meta, kept for 30 days."""

from shared.store.migrations.statements import execute

revision = "0016"
down_revision = "0015"

# A link that was cut is a number's, where Meta names the number. `link_takedown` is what `takedown`
# was for links: the version before knows `takedown` alone.
UP = """
ALTER TABLE whatsapp_connections
    -- The number that the dialog named.
    ADD COLUMN login_phone_number_id text;
ALTER TABLE whatsapp_onboarding
    ADD COLUMN session_phone_number_id text;
ALTER TABLE phone_numbers
    ADD COLUMN status text NOT NULL DEFAULT '',  -- Meta's word
    ADD COLUMN is_verified boolean NOT NULL DEFAULT true,
    ADD COLUMN is_asked boolean NOT NULL DEFAULT false,  -- a person asked to register it
    ADD COLUMN is_pin_given boolean NOT NULL DEFAULT false,  -- by a person, not made by us
    ADD COLUMN failure text,  -- why its last step failed
    ADD COLUMN retry_at timestamptz,  -- null: not without a person
    ADD COLUMN attempts smallint NOT NULL DEFAULT 0,
    ADD COLUMN register_calls timestamptz[] NOT NULL DEFAULT '{}',  -- of the last 72 hours
    ADD COLUMN wrong_pins timestamptz[] NOT NULL DEFAULT '{}',  -- of the last 72 hours
    ADD COLUMN told text,  -- what the company was told last
    ADD COLUMN told_reason text;
CREATE TABLE failed_calls (
    id uuid PRIMARY KEY,
    subject text NOT NULL,  -- a WABA, or an onboarding's id
    step text NOT NULL,
    phone_number_id text NOT NULL,  -- empty: of the WABA
    reason text NOT NULL,
    code integer,
    subcode integer,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX failed_calls_subject_idx ON failed_calls (subject, id);
CREATE INDEX failed_calls_at_idx ON failed_calls (at);
"""

DOWN = """
DELETE FROM connection_facts WHERE name = 'link_takedown';
DROP TABLE failed_calls;
ALTER TABLE phone_numbers
    DROP COLUMN status, DROP COLUMN is_verified, DROP COLUMN is_asked, DROP COLUMN is_pin_given,
    DROP COLUMN failure, DROP COLUMN retry_at, DROP COLUMN attempts, DROP COLUMN register_calls,
    DROP COLUMN wrong_pins, DROP COLUMN told, DROP COLUMN told_reason;
ALTER TABLE whatsapp_onboarding DROP COLUMN session_phone_number_id;
ALTER TABLE whatsapp_connections DROP COLUMN login_phone_number_id;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
