"""Whom an audited change was made for, the rights of API keys, and no tracking code in clear."""

from alembic import op

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0011"
down_revision = "0010"

# Committed before the rest, so it can run twice. The services of the version before store tracking
# codes in clear: the trigger adds the hash that this version looks for.
COLUMNS = """
ALTER TABLE audit_log ADD COLUMN IF NOT EXISTS on_behalf_of text;
ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS rights text[] NOT NULL DEFAULT '{change,read}';
ALTER TABLE events ADD COLUMN IF NOT EXISTS onboarding_id uuid;
ALTER TABLE whatsapp_onboarding
    ALTER COLUMN tracking_code DROP NOT NULL,  -- `rotate-keys` seals it and sets it to null
    ADD COLUMN IF NOT EXISTS sealed_tracking_code bytea,
    ADD COLUMN IF NOT EXISTS tracking_code_hash bytea;
CREATE OR REPLACE FUNCTION hash_tracking_code() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
    NEW.tracking_code_hash = sha256(convert_to(NEW.tracking_code, 'UTF8')); RETURN NEW; END$$;
CREATE OR REPLACE TRIGGER hash_tracking_code BEFORE INSERT ON whatsapp_onboarding
    FOR EACH ROW WHEN (NEW.tracking_code IS NOT NULL) EXECUTE FUNCTION hash_tracking_code();
"""

# One batch: the services wait for its rows no longer than it takes.
HASH_BATCH = """
UPDATE whatsapp_onboarding SET tracking_code_hash = sha256(convert_to(tracking_code, 'UTF8'))
WHERE id IN (
    SELECT id FROM whatsapp_onboarding
    WHERE tracking_code_hash IS NULL AND tracking_code IS NOT NULL LIMIT 1000
)
"""

# Links that this version made are lost: nobody here can open a sealed code. Proofs go on. A key
# that may only read would be one that may do everything: it is revoked.
DOWN = """
UPDATE whatsapp_onboarding SET tracking_code = 'lost-' || gen_random_uuid()
WHERE tracking_code IS NULL;
UPDATE follow_ups SET subject = tracking_code
FROM whatsapp_onboarding WHERE kind = 'prove' AND subject = whatsapp_onboarding.id::text;
UPDATE events SET data = data || jsonb_build_object('tracking_code', tracking_code)
FROM whatsapp_onboarding WHERE onboarding_id = whatsapp_onboarding.id;
DROP TRIGGER hash_tracking_code ON whatsapp_onboarding;
DROP FUNCTION hash_tracking_code;
ALTER TABLE whatsapp_onboarding
    ALTER COLUMN tracking_code SET NOT NULL,
    DROP COLUMN sealed_tracking_code, DROP COLUMN tracking_code_hash;
ALTER TABLE events DROP COLUMN onboarding_id;
UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL AND 'change' <> ALL(rights);
ALTER TABLE api_keys DROP COLUMN rights;
ALTER TABLE audit_log DROP COLUMN on_behalf_of;
"""


def upgrade() -> None:
    execute(COLUMNS)
    with op.get_context().autocommit_block():
        while op.get_bind().exec_driver_sql(HASH_BATCH).rowcount:
            pass
    create_index_concurrently(
        "whatsapp_onboarding_tracking_code_hash_idx",
        "whatsapp_onboarding (tracking_code_hash)",
        unique=True,
    )


def downgrade() -> None:
    execute(DOWN)
