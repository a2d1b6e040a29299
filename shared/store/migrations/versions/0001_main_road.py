"""The main road: organizations, onboardings, connections, and the webhooks with their changes."""

from shared.store.migrations.statements import execute

revision = "0001"
down_revision = None

UP = """
CREATE TYPE connection_state AS ENUM
    ('orphan', 'provisioning', 'active', 'offboarded', 'disconnected', 'disabled');
CREATE TYPE token_state AS ENUM ('none', 'valid', 'expiring', 'expired', 'revoked', 'unknown');
CREATE TYPE onboarding_state AS ENUM ('open', 'completed', 'cancelled', 'expired');
CREATE TYPE change_state AS ENUM ('pending', 'processed', 'failed', 'dead', 'discarded');
CREATE TYPE webhook_state AS ENUM ('unsplit', 'split', 'dead', 'discarded');
CREATE TYPE webhook_kind AS ENUM ('whatsapp', 'test');
CREATE TYPE lane AS ENUM ('fast', 'slow');
CREATE TYPE road AS ENUM ('broker', 'database');

CREATE TABLE organizations (
    id text PRIMARY KEY,  -- the company's own id for its customer
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE organization_businesses (
    organization_id text NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    business_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, business_id)
);
CREATE INDEX organization_businesses_business_id_idx ON organization_businesses (business_id);

CREATE TABLE whatsapp_onboarding (
    id uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    tracking_code text NOT NULL UNIQUE,
    state onboarding_state NOT NULL DEFAULT 'open',
    waba_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX "whatsapp_onboarding_expiresAt_idx" ON whatsapp_onboarding (expires_at);
CREATE INDEX whatsapp_onboarding_organization_id_idx ON whatsapp_onboarding (organization_id);

CREATE TABLE whatsapp_connections (
    id uuid PRIMARY KEY,
    waba_id text NOT NULL UNIQUE,
    organization_id text REFERENCES organizations (id),
    owner_business_id text,
    owned_since timestamptz,
    state connection_state NOT NULL DEFAULT 'orphan',
    reason text,
    token_state token_state NOT NULL DEFAULT 'none',
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX "whatsapp_connections_organizationId_idx" ON whatsapp_connections (organization_id);

CREATE TABLE webhook_log (
    id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL,
    digest bytea NOT NULL,  -- SHA-256 of the raw body
    kind webhook_kind NOT NULL,
    lane lane NOT NULL,
    road road NOT NULL,
    state webhook_state NOT NULL,
    processed boolean NOT NULL DEFAULT false,
    changes_left integer NOT NULL DEFAULT 0,
    attempts smallint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    last_error text
);
CREATE INDEX webhook_log_unsplit_idx ON webhook_log (lease_until, id) WHERE state = 'unsplit';
CREATE INDEX webhook_log_received_at_idx ON webhook_log (received_at);

-- Rows are large and short-lived, and go by dropping a day: hence partitions, and no foreign keys.
CREATE TABLE webhook_bodies (
    id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    signature bytea,  -- as verified at the door; null where the kind has none
    body bytea NOT NULL,  -- an envelope of shared/crypto.py
    PRIMARY KEY (id, received_at)
) PARTITION BY RANGE (received_at);
CREATE TABLE webhook_bodies_default PARTITION OF webhook_bodies DEFAULT;

CREATE TABLE webhook_changes (
    id uuid PRIMARY KEY,
    webhook_id uuid NOT NULL REFERENCES webhook_log (id) ON DELETE CASCADE,
    received_at timestamptz NOT NULL,
    key bytea NOT NULL,  -- see shared/domain/splitting.py
    field text,
    event text,
    waba_id text,
    phone_number_id text,
    organization_id text REFERENCES organizations (id),
    subject_hash bytea,
    state change_state NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    last_error text,
    next_attempt_at timestamptz,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    content bytea  -- an envelope, while the change is unsettled or undelivered
);
CREATE UNIQUE INDEX webhook_changes_key_idx ON webhook_changes (key);
CREATE INDEX webhook_changes_webhook_id_idx ON webhook_changes (webhook_id);
CREATE INDEX webhook_changes_unowned_idx ON webhook_changes (waba_id, id)
    WHERE organization_id IS NULL;
CREATE INDEX webhook_changes_due_idx ON webhook_changes (next_attempt_at, id)
    WHERE state IN ('pending', 'failed');
CREATE INDEX webhook_changes_subject_hash_idx ON webhook_changes (subject_hash)
    WHERE subject_hash IS NOT NULL;
"""

DOWN = """
DROP TABLE webhook_changes, webhook_bodies, webhook_log, whatsapp_connections, whatsapp_onboarding,
    organization_businesses, organizations;
DROP TYPE road, lane, webhook_kind, webhook_state, change_state, onboarding_state, token_state,
    connection_state;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
