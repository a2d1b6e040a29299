"""Words of ownership: claimed, former, and a follow-up that attributes. 0008 uses them.

A new value of an enum cannot be used in the transaction that adds it.
"""

from shared.store.migrations.statements import execute

revision = "0007"
down_revision = "0006"

UP = """
ALTER TYPE attribution ADD VALUE 'claimed' AFTER 'tracking_code';
ALTER TYPE attribution RENAME VALUE 'withdrawn' TO 'former';
ALTER TYPE follow_up_kind ADD VALUE 'attribute';
ALTER TABLE whatsapp_connections
    DROP CONSTRAINT owned_for_a_reason,
    ADD CONSTRAINT owned_for_a_reason CHECK (
        (organization_id IS NOT NULL)
        = (attribution::text IN ('tracking_code', 'claimed', 'owner_business', 'former'))
    );
"""

# The table is of a run of 0008 that was stopped after its first step.
DOWN = """
DROP TABLE IF EXISTS connection_eras;
DROP INDEX whatsapp_connections_undecided_idx;
ALTER TABLE whatsapp_connections
    DROP CONSTRAINT owned_for_a_reason,
    ALTER COLUMN attribution DROP DEFAULT;
ALTER TYPE attribution RENAME TO attribution_before;
CREATE TYPE attribution AS ENUM
    ('tracking_code', 'owner_business', 'withdrawn', 'no_owner_known', 'several_owners',
     'another_onboarding');
ALTER TABLE whatsapp_connections
    ALTER COLUMN attribution TYPE attribution
        USING replace(attribution::text, 'former', 'withdrawn')::attribution,
    ALTER COLUMN attribution SET DEFAULT 'no_owner_known',
    ADD CONSTRAINT owned_for_a_reason CHECK (
        (organization_id IS NOT NULL)
        = (attribution::text IN ('tracking_code', 'owner_business', 'withdrawn'))
    );
DROP TYPE attribution_before;
CREATE INDEX whatsapp_connections_undecided_idx ON whatsapp_connections (waba_id)
    WHERE attribution IN ('no_owner_known', 'another_onboarding');
ALTER TYPE follow_up_kind RENAME TO follow_up_kind_before;
CREATE TYPE follow_up_kind AS ENUM ('prove', 'provision', 'read', 'disconnect');
ALTER TABLE follow_ups ALTER COLUMN kind TYPE follow_up_kind USING kind::text::follow_up_kind;
DROP TYPE follow_up_kind_before;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
