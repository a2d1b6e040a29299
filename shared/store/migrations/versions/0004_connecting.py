"""Connecting: onboardings through Meta's dialog, tokens, what follows from them, and API keys."""

from shared.store.migrations.statements import execute

revision = "0004"
down_revision = "0003"

UP = """
CREATE TYPE onboarding_flow AS ENUM ('popup', 'redirect', 'claim');
ALTER TABLE whatsapp_onboarding
    ADD COLUMN flow onboarding_flow NOT NULL DEFAULT 'popup',
    ADD COLUMN is_coexistence boolean NOT NULL DEFAULT false,  -- as asked for; Meta decides
    ADD COLUMN redirect_uri text,
    ADD COLUMN idempotency_key text,
    ADD COLUMN session_event text,  -- what the browser said, as all of claimed_*: unproven
    ADD COLUMN claimed_waba_id text,
    ADD COLUMN reason text,  -- why it is stuck; a word of shared/domain/remedies.py
    ADD COLUMN code_hash bytea,  -- SHA-256 of the code that was exchanged
    ADD COLUMN code_at timestamptz,
    ADD COLUMN token bytea,  -- sealed; unproven, and gone once it is proven or refused
    ADD COLUMN token_expires_at timestamptz,
    -- Since its organization disconnected it proves no more.
    ADD COLUMN withdrawn_at timestamptz;
CREATE UNIQUE INDEX whatsapp_onboarding_idempotency_idx
    ON whatsapp_onboarding (organization_id, idempotency_key);
CREATE UNIQUE INDEX whatsapp_onboarding_code_hash_idx ON whatsapp_onboarding (code_hash);

ALTER TABLE whatsapp_connections
    ADD COLUMN is_coexistence boolean NOT NULL DEFAULT false,
    ADD COLUMN token bytea,  -- sealed
    ADD COLUMN token_at timestamptz,  -- since when we have it
    ADD COLUMN token_expires_at timestamptz,
    ADD COLUMN token_user_id text,  -- who granted it, for Meta's deauthorise callback
    ADD COLUMN token_checked_at timestamptz,
    ADD COLUMN left_behind text[] NOT NULL DEFAULT '{}',  -- at Meta, when we disconnected
    ADD CONSTRAINT tokens_have_a_time CHECK ((token IS NULL) = (token_at IS NULL));

ALTER TABLE phone_numbers
    ADD COLUMN is_coexistence boolean NOT NULL DEFAULT false,
    ADD COLUMN is_registered boolean NOT NULL DEFAULT false,
    ADD COLUMN read_at timestamptz,  -- at Meta; null: it has the number no more
    -- Of two-step verification, sealed.
    ADD COLUMN pin bytea;

-- Work that calls Meta: to prove an onboarding, to provision, read or disconnect a connection.
CREATE TYPE follow_up_kind AS ENUM ('prove', 'provision', 'read', 'disconnect');
CREATE TYPE follow_up_state AS ENUM ('pending', 'blocked', 'done');
CREATE TABLE follow_ups (
    id uuid PRIMARY KEY,
    kind follow_up_kind NOT NULL,
    subject text NOT NULL,  -- an onboarding's tracking code; else a WABA
    state follow_up_state NOT NULL DEFAULT 'pending',
    attempts smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    reason text,  -- why it is blocked, or what it waits for
    asked_at timestamptz NOT NULL DEFAULT now(),  -- asked for while worked: worked again
    ended_at timestamptz,
    CONSTRAINT done_has_an_end CHECK ((state = 'done') = (ended_at IS NOT NULL))
);
CREATE UNIQUE INDEX follow_ups_open_idx ON follow_ups (subject, kind) WHERE state <> 'done';
CREATE INDEX follow_ups_subject_idx ON follow_ups (subject, lease_until);
CREATE INDEX follow_ups_due_idx ON follow_ups (due_at, id) WHERE state = 'pending';

-- Each step is recorded before it is tried: one that has begun may have had its effect.
CREATE TABLE provision_steps (
    follow_up_id uuid NOT NULL REFERENCES follow_ups (id) ON DELETE CASCADE,
    waba_id text NOT NULL,
    step text NOT NULL,
    phone_number_id text NOT NULL,  -- empty: of the WABA
    begun_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    PRIMARY KEY (follow_up_id, step, phone_number_id)
);
CREATE INDEX provision_steps_waba_id_idx ON provision_steps (waba_id);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    organization_id text REFERENCES organizations (id) ON DELETE CASCADE,  -- null: the company's
    hash bytea NOT NULL UNIQUE,  -- SHA-256 of a key of 256 random bits
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- What each connection lost already, so that it is known whether it was set up since.
INSERT INTO connection_facts (waba_id, digits, name, value, at, is_takedown)
SELECT DISTINCT ON (waba_id) waba_id, '', 'takedown', value, at, true
FROM connection_facts
WHERE digits = '' AND is_takedown AND value <> 'scheduled'
    AND name IN ('shared', 'app', 'phone_link', 'ban', 'deleted')
ORDER BY waba_id, at DESC, value DESC;

-- An onboarding's event has neither a revision nor, before the proof, a WABA. The rows there are
-- meet the check; to have that proven would lock the services out meanwhile.
ALTER TABLE events
    ALTER COLUMN waba_id DROP NOT NULL,
    DROP CONSTRAINT of_a_change_or_a_connection,
    ADD CONSTRAINT of_a_change_a_connection_or_an_onboarding CHECK (
        type LIKE 'onboarding.%' OR ((revision IS NULL) = (data IS NULL) AND waba_id IS NOT NULL)
    ) NOT VALID;
"""

DOWN = """
DELETE FROM events WHERE type LIKE 'onboarding.%';
ALTER TABLE events
    DROP CONSTRAINT of_a_change_a_connection_or_an_onboarding,
    ALTER COLUMN waba_id SET NOT NULL,
    ADD CONSTRAINT of_a_change_or_a_connection CHECK ((revision IS NULL) = (data IS NULL));
DELETE FROM connection_facts WHERE name IN ('takedown', 'setup', 'heard');
UPDATE whatsapp_connections SET state = 'provisioning', reason = NULL WHERE state = 'active';
DROP TABLE api_keys, provision_steps, follow_ups;
DROP TYPE follow_up_state, follow_up_kind;
ALTER TABLE phone_numbers DROP COLUMN is_coexistence, DROP COLUMN is_registered,
    DROP COLUMN read_at, DROP COLUMN pin;
ALTER TABLE whatsapp_connections
    DROP CONSTRAINT tokens_have_a_time, DROP COLUMN is_coexistence, DROP COLUMN token,
    DROP COLUMN token_at, DROP COLUMN token_expires_at, DROP COLUMN token_user_id,
    DROP COLUMN token_checked_at, DROP COLUMN left_behind;
UPDATE whatsapp_connections SET token_state = 'none';
UPDATE whatsapp_onboarding SET proven_at = NULL WHERE withdrawn_at IS NOT NULL;
DROP INDEX whatsapp_onboarding_idempotency_idx, whatsapp_onboarding_code_hash_idx;
ALTER TABLE whatsapp_onboarding
    DROP COLUMN flow, DROP COLUMN is_coexistence, DROP COLUMN redirect_uri,
    DROP COLUMN idempotency_key, DROP COLUMN session_event, DROP COLUMN claimed_waba_id,
    DROP COLUMN reason, DROP COLUMN code_hash, DROP COLUMN code_at, DROP COLUMN token,
    DROP COLUMN token_expires_at, DROP COLUMN withdrawn_at;
DROP TYPE onboarding_flow;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
