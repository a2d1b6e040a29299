"""Owners: what is told of a connection, whose it is and why, and the events that say so."""

from shared.store.migrations.statements import execute

revision = "0002"
down_revision = "0001"

UP = """
CREATE TYPE attribution AS ENUM
    ('tracking_code', 'owner_business', 'no_owner_known', 'several_owners', 'another_onboarding');

-- No foreign key: a fact may come before anything else is known of its WABA.
CREATE TABLE connection_facts (
    waba_id text NOT NULL,
    digits text NOT NULL,  -- of which of its numbers; empty: of the connection
    name text NOT NULL,
    value text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    is_takedown boolean NOT NULL,
    PRIMARY KEY (waba_id, digits, name)
);

CREATE TABLE phone_numbers (
    waba_id text NOT NULL,
    digits text NOT NULL,
    phone_number_id text,
    PRIMARY KEY (waba_id, digits)
);

ALTER TABLE whatsapp_connections
    ADD COLUMN attribution attribution NOT NULL DEFAULT 'no_owner_known',
    ADD COLUMN is_stamping boolean NOT NULL DEFAULT false,  -- see store/changes.stamp
    ADD CONSTRAINT owned_for_a_reason CHECK (
        (organization_id IS NOT NULL) = (attribution IN ('tracking_code', 'owner_business'))
    );
CREATE INDEX whatsapp_connections_undecided_idx ON whatsapp_connections (waba_id)
    WHERE attribution IN ('no_owner_known', 'another_onboarding');
CREATE INDEX whatsapp_connections_stamping_idx ON whatsapp_connections (waba_id)
    WHERE is_stamping;
CREATE INDEX whatsapp_onboarding_open_idx ON whatsapp_onboarding (expires_at)
    WHERE state = 'open';
ALTER TABLE whatsapp_onboarding ADD COLUMN proven_at timestamptz;
CREATE INDEX whatsapp_onboarding_waba_id_idx ON whatsapp_onboarding (waba_id)
    WHERE waba_id IS NOT NULL;

CREATE TABLE events (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    type text NOT NULL,
    organization_id text NOT NULL REFERENCES organizations (id),
    waba_id text NOT NULL,
    revision bigint NOT NULL,  -- of the connection
    data jsonb NOT NULL,
    published_at timestamptz
);
CREATE UNIQUE INDEX events_once_idx ON events (waba_id, revision, type, organization_id);
CREATE INDEX events_unpublished_idx ON events (created_at, id) WHERE published_at IS NULL;
"""

DOWN = """
DROP TABLE events, phone_numbers, connection_facts;
DROP INDEX whatsapp_onboarding_open_idx, whatsapp_onboarding_waba_id_idx,
    whatsapp_connections_undecided_idx, whatsapp_connections_stamping_idx;
ALTER TABLE whatsapp_onboarding DROP COLUMN proven_at;
ALTER TABLE whatsapp_connections DROP CONSTRAINT owned_for_a_reason, DROP COLUMN attribution,
    DROP COLUMN is_stamping;
DROP TYPE attribution;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
