"""Dead letters: what failed for good, its replays and who asked for them; events of changes."""

from shared.store.migrations.statements import execute

revision = "0003"
down_revision = "0002"

UP = """
CREATE TYPE dead_letter_kind AS ENUM ('change', 'webhook', 'envelope');
CREATE TYPE blame AS ENUM ('ours', 'customer', 'meta', 'poison');
CREATE TYPE dead_letter_outcome AS ENUM ('replayed', 'discarded');

ALTER TABLE webhook_log ADD COLUMN first_failed_at timestamptz;
ALTER TABLE webhook_changes ADD COLUMN first_failed_at timestamptz;

CREATE TABLE replays (
    id uuid PRIMARY KEY,
    outcome dead_letter_outcome NOT NULL,  -- of each letter
    ids uuid[],  -- these letters
    fingerprint text,  -- or all of these
    died_until timestamptz NOT NULL,  -- that died by then
    rate integer NOT NULL,  -- letters a second
    actor text NOT NULL,
    reason text NOT NULL,
    total integer NOT NULL,
    done integer NOT NULL DEFAULT 0,
    kept integer NOT NULL DEFAULT 0,  -- letters that cannot be replayed
    reached uuid,  -- the last letter looked at
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    kind dead_letter_kind NOT NULL,
    subject_id uuid NOT NULL,  -- the change's, the webhook's; of an envelope a digest
    webhook_id uuid REFERENCES webhook_log (id) ON DELETE CASCADE,
    blame blame NOT NULL,
    error text NOT NULL,
    fingerprint text NOT NULL,  -- the same for the same error of the same kind of change
    attempts smallint NOT NULL,
    first_failed_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL DEFAULT now(),
    body bytea,  -- of an envelope: its bytes, sealed
    closed_at timestamptz,
    outcome dead_letter_outcome,
    replay_id uuid REFERENCES replays (id),
    CONSTRAINT closed_with_an_outcome CHECK ((closed_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX dead_letters_open_idx ON dead_letters (subject_id) WHERE closed_at IS NULL;
CREATE INDEX dead_letters_fingerprint_idx ON dead_letters (fingerprint, id)
    WHERE closed_at IS NULL;
CREATE INDEX dead_letters_webhook_id_idx ON dead_letters (webhook_id);
CREATE INDEX dead_letters_replay_id_idx ON dead_letters (replay_id);

CREATE TABLE audit_log (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL
);
CREATE INDEX audit_log_at_idx ON audit_log (at);

-- An event of a change has the change's id, and its content rests with the change.
ALTER TABLE events
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT now(),  -- for its publication
    ADD COLUMN is_unrouted boolean NOT NULL DEFAULT false,
    ALTER COLUMN revision DROP NOT NULL,
    ALTER COLUMN data DROP NOT NULL,
    ADD CONSTRAINT of_a_change_or_a_connection CHECK ((revision IS NULL) = (data IS NULL));
CREATE INDEX events_created_at_idx ON events (created_at);
DROP INDEX events_unpublished_idx;
CREATE INDEX events_due_idx ON events (due_at, id) WHERE published_at IS NULL;

-- Neither hides the other's rows behind thousands of its own.
DROP INDEX webhook_log_unsplit_idx;
CREATE INDEX webhook_log_fresh_idx ON webhook_log (lease_until, id)
    WHERE state = 'unsplit' AND attempts = 0;
CREATE INDEX webhook_log_tried_idx ON webhook_log (lease_until, id)
    WHERE state = 'unsplit' AND attempts > 0;
"""

DOWN = """
DROP INDEX events_created_at_idx, events_due_idx, webhook_log_fresh_idx, webhook_log_tried_idx;
DELETE FROM events WHERE data IS NULL;
ALTER TABLE events DROP CONSTRAINT of_a_change_or_a_connection, DROP COLUMN due_at,
    DROP COLUMN is_unrouted, ALTER COLUMN revision SET NOT NULL, ALTER COLUMN data SET NOT NULL;
DROP TABLE audit_log, dead_letters, replays;
DROP TYPE dead_letter_outcome, dead_letter_kind, blame;
CREATE INDEX events_unpublished_idx ON events (created_at, id) WHERE published_at IS NULL;
CREATE INDEX webhook_log_unsplit_idx ON webhook_log (lease_until, id) WHERE state = 'unsplit';
ALTER TABLE webhook_log DROP COLUMN first_failed_at;
ALTER TABLE webhook_changes DROP COLUMN first_failed_at;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
