"""Withdrawn: whoever disconnected stays a WABA's owner, but a provisional one."""

from shared.store.migrations.statements import execute

revision = "0005"
down_revision = "0004"

# As text, and `owner_business` for those there are, who are provisional too: a new value of an enum
# cannot be used in the transaction that adds it.
UP = """
ALTER TYPE attribution ADD VALUE 'withdrawn' AFTER 'owner_business';
ALTER TABLE whatsapp_connections
    ADD COLUMN withdrawn_at timestamptz,  -- what was received until then is a former owner's
    DROP CONSTRAINT owned_for_a_reason,
    ADD CONSTRAINT owned_for_a_reason CHECK (
        (organization_id IS NOT NULL)
        = (attribution::text IN ('tracking_code', 'owner_business', 'withdrawn'))
    );
UPDATE whatsapp_connections SET withdrawn_at = past.at
FROM (SELECT waba_id, max(withdrawn_at) AS at FROM whatsapp_onboarding GROUP BY waba_id) AS past
WHERE whatsapp_connections.waba_id = past.waba_id AND past.at IS NOT NULL;
UPDATE whatsapp_connections SET attribution = 'owner_business'
WHERE attribution = 'tracking_code' AND NOT EXISTS (
    SELECT FROM whatsapp_onboarding
    WHERE whatsapp_onboarding.waba_id = whatsapp_connections.waba_id
        AND proven_at IS NOT NULL AND whatsapp_onboarding.withdrawn_at IS NULL
);
"""

DOWN = """
DROP INDEX whatsapp_connections_undecided_idx;
ALTER TABLE whatsapp_connections
    DROP COLUMN withdrawn_at,
    DROP CONSTRAINT owned_for_a_reason,
    ALTER COLUMN attribution DROP DEFAULT;
UPDATE whatsapp_connections SET attribution = 'tracking_code' WHERE attribution = 'withdrawn';
ALTER TYPE attribution RENAME TO attribution_before;
CREATE TYPE attribution AS ENUM
    ('tracking_code', 'owner_business', 'no_owner_known', 'several_owners', 'another_onboarding');
ALTER TABLE whatsapp_connections
    ALTER COLUMN attribution TYPE attribution USING attribution::text::attribution,
    ALTER COLUMN attribution SET DEFAULT 'no_owner_known',
    ADD CONSTRAINT owned_for_a_reason CHECK (
        (organization_id IS NOT NULL) = (attribution IN ('tracking_code', 'owner_business'))
    );
DROP TYPE attribution_before;
CREATE INDEX whatsapp_connections_undecided_idx ON whatsapp_connections (waba_id)
    WHERE attribution IN ('no_owner_known', 'another_onboarding');
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
