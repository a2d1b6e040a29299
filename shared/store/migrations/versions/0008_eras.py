"""Eras: who owned each WABA from when until when, instead of proofs that are withdrawn."""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0008"
down_revision = "0007"

# Committed before the rest: until then nobody can write to whatsapp_connections.
TABLE = """
CREATE TABLE IF NOT EXISTS connection_eras (
    id uuid PRIMARY KEY,
    waba_id text NOT NULL REFERENCES whatsapp_connections (waba_id) ON DELETE CASCADE,
    organization_id text NOT NULL REFERENCES organizations (id),
    basis text NOT NULL CHECK (basis IN ('tracking_code', 'claimed')),
    began_at timestamptz NOT NULL,
    proven_at timestamptz NOT NULL,  -- the last proof, as its facts have it
    confirmed_at timestamptz,  -- no takedown before was true
    suspended_at timestamptz,  -- what was received since then is held; null: it is not suspended
    ended_at timestamptz,
    end_reason text,
    CONSTRAINT an_end_has_a_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS connection_eras_open_idx ON connection_eras (waba_id)
    WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS connection_eras_ended_idx ON connection_eras (waba_id, ended_at);
CREATE INDEX IF NOT EXISTS connection_eras_organization_id_idx ON connection_eras (organization_id)
    WHERE ended_at IS NULL;
"""

# Nobody's ownership changes. An organization's proofs of a WABA that were withdrawn at one moment
# are one era; those of the owner that stand are its open era. `withdrawn_at` and `is_stamping` stay
# for the way down, unused.
UP = """
-- A business that an operator entered counts until it is removed, one that a proof brought while
-- that proof stands.
CREATE VIEW business_owners AS
    SELECT business_id, organization_id FROM organization_businesses
    UNION
    SELECT owner_business_id, era.organization_id
    FROM whatsapp_connections JOIN connection_eras AS era USING (waba_id)
    WHERE owner_business_id IS NOT NULL AND basis = 'tracking_code' AND ended_at IS NULL
        AND suspended_at IS NULL;

INSERT INTO connection_eras
    (id, waba_id, organization_id, basis, began_at, proven_at, ended_at, end_reason)
SELECT gen_random_uuid(), waba_id, past.organization_id,
       CASE WHEN bool_and(flow = 'claim') THEN 'claimed' ELSE 'tracking_code' END,
       least(min(proven_at), past.withdrawn_at), max(proven_at),
       past.withdrawn_at, 'disconnected'
FROM whatsapp_onboarding AS past JOIN whatsapp_connections USING (waba_id)
WHERE proven_at IS NOT NULL AND past.withdrawn_at IS NOT NULL
GROUP BY waba_id, past.organization_id, past.withdrawn_at;

-- A disconnect that is under way has ended the era, as in this version.
INSERT INTO connection_eras
    (id, waba_id, organization_id, basis, began_at, proven_at, suspended_at, ended_at, end_reason)
SELECT gen_random_uuid(), waba_id, owner.organization_id,
       CASE WHEN proofs.is_claim THEN 'claimed' ELSE 'tracking_code' END,
       coalesce(proofs.since, owned_since, now()), coalesce(proofs.last, owned_since, now()),
       CASE WHEN state = 'disconnected' AND reason IN ('unshared', 'uninstalled', 'deleted')
            THEN now() END,
       CASE WHEN disconnecting.is_open THEN now() END,
       CASE WHEN disconnecting.is_open THEN 'disconnected' END
FROM whatsapp_connections AS owner CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM follow_ups
        WHERE subject = owner.waba_id AND kind = 'disconnect' AND follow_ups.state <> 'done'
    ) AS is_open
) AS disconnecting CROSS JOIN LATERAL (
    SELECT bool_and(flow = 'claim') AS is_claim, min(proven_at) AS since, max(proven_at) AS last
    FROM whatsapp_onboarding
    WHERE whatsapp_onboarding.waba_id = owner.waba_id AND proven_at IS NOT NULL
        AND whatsapp_onboarding.organization_id = owner.organization_id
        AND whatsapp_onboarding.withdrawn_at IS NULL
) AS proofs
WHERE attribution = 'tracking_code';

UPDATE whatsapp_connections SET attribution = 'claimed'
FROM connection_eras
WHERE connection_eras.waba_id = whatsapp_connections.waba_id AND ended_at IS NULL
    AND basis = 'claimed';

INSERT INTO follow_ups (id, kind, subject)
SELECT gen_random_uuid(), 'attribute', waba_id FROM whatsapp_connections
WHERE EXISTS (SELECT FROM connection_eras WHERE waba_id = whatsapp_connections.waba_id)
    OR attribution IN ('no_owner_known', 'another_onboarding') AND EXISTS (
        SELECT FROM organization_businesses WHERE business_id = owner_business_id
    );
INSERT INTO follow_ups (id, kind, subject)
SELECT gen_random_uuid(), 'read', waba_id FROM connection_eras
WHERE suspended_at IS NOT NULL AND ended_at IS NULL
ON CONFLICT (subject, kind) WHERE state <> 'done' DO UPDATE
SET state = 'pending', due_at = now(), attempts = 0, reason = NULL;
"""

DOWN = """
UPDATE whatsapp_onboarding SET withdrawn_at = era.ended_at
FROM connection_eras AS era
WHERE era.waba_id = whatsapp_onboarding.waba_id
    AND era.organization_id = whatsapp_onboarding.organization_id
    AND whatsapp_onboarding.proven_at IS NOT NULL AND withdrawn_at IS NULL
    AND era.ended_at = (
        SELECT min(ended_at) FROM connection_eras AS ended
        WHERE ended.waba_id = era.waba_id AND ended.organization_id = era.organization_id
            AND ended.ended_at >= whatsapp_onboarding.proven_at
    );
INSERT INTO whatsapp_onboarding
    (id, organization_id, tracking_code, state, waba_id, expires_at, flow, proven_at)
SELECT gen_random_uuid(), organization_id, 'claim-' || era.id, 'completed', waba_id, now(),
       'claim', proven_at
FROM connection_eras AS era
WHERE ended_at IS NULL AND NOT EXISTS (
    SELECT FROM whatsapp_onboarding
    WHERE waba_id = era.waba_id AND organization_id = era.organization_id
        AND proven_at IS NOT NULL AND withdrawn_at IS NULL
);
UPDATE whatsapp_connections SET is_stamping = true, withdrawn_at = (
    SELECT max(ended_at) FROM connection_eras WHERE waba_id = whatsapp_connections.waba_id
)
WHERE EXISTS (SELECT FROM connection_eras WHERE waba_id = whatsapp_connections.waba_id);
UPDATE whatsapp_connections SET attribution = 'tracking_code' WHERE attribution = 'claimed';
DELETE FROM follow_ups WHERE kind = 'attribute';
INSERT INTO organization_businesses (business_id, organization_id)
SELECT business_id, organization_id FROM business_owners ON CONFLICT DO NOTHING;
DELETE FROM connection_facts
WHERE name IN ('reach', 'waba_takedown') OR name = 'deleted' AND value = 'no';
DROP INDEX whatsapp_connections_owner_business_id_idx, whatsapp_onboarding_session_waba_id_idx;
DROP VIEW business_owners;
DROP TABLE connection_eras;
"""


def upgrade() -> None:
    execute(TABLE)
    create_index_concurrently(
        "whatsapp_connections_owner_business_id_idx", "whatsapp_connections (owner_business_id)"
    )
    create_index_concurrently(
        "whatsapp_onboarding_session_waba_id_idx",
        "whatsapp_onboarding (session_waba_id) WHERE state = 'open'",
    )
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
