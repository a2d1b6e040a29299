"""Runs of the scheduled jobs, bodies that outlive their day, and what retention needs."""

from alembic import op

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0012"
down_revision = "0011"

# An open letter keeps its webhook: a deletion that would take it is refused by the check. A closed
# one only loses the reference. The key is added NOT VALID, and checked once nobody waits for it.
LETTERS = """
ALTER TABLE dead_letters
    DROP CONSTRAINT IF EXISTS open_letters_keep_their_webhook,
    DROP CONSTRAINT dead_letters_webhook_id_fkey,
    ADD CONSTRAINT dead_letters_webhook_id_fkey FOREIGN KEY (webhook_id)
        REFERENCES webhook_log (id) ON DELETE SET NULL NOT VALID,
    ADD CONSTRAINT open_letters_keep_their_webhook CHECK (
        closed_at IS NOT NULL OR kind = 'message' OR webhook_id IS NOT NULL
    ) NOT VALID;
"""
VALIDATE = """
ALTER TABLE dead_letters VALIDATE CONSTRAINT dead_letters_webhook_id_fkey;
ALTER TABLE dead_letters VALIDATE CONSTRAINT open_letters_keep_their_webhook;
"""

UP = """
CREATE TYPE job_outcome AS ENUM ('succeeded', 'failed', 'timed_out', 'stopped', 'lost');
CREATE TABLE job_runs (
    id uuid PRIMARY KEY,
    job text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome job_outcome,  -- null while it goes on
    counts jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT ended_with_an_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX job_runs_started_at_idx ON job_runs (job, started_at);
CREATE INDEX job_runs_succeeded_idx ON job_runs (job, started_at) WHERE outcome = 'succeeded';

-- Copies of bodies whose day was dropped while their webhook was not settled.
CREATE TABLE unsettled_bodies (
    id uuid PRIMARY KEY REFERENCES webhook_log (id) ON DELETE CASCADE,
    received_at timestamptz NOT NULL,
    signature bytea,
    body bytea NOT NULL  -- the envelope of webhook_bodies, bound as there
);

-- By default a table is vacuumed when a fifth of it is dead. Of a hundred million rows that is a
-- week of deletions: the indexes grow meanwhile, and then one vacuum runs for hours. A fiftieth is
-- about what retention deletes in a day.
ALTER TABLE webhook_log SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE webhook_changes SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02);
-- Every event is inserted, leased and marked: two dead rows for each living one. The index of what
-- is due is short and is read each second, through all that is dead in it.
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.05);
-- Likewise, and each is leased once a step.
ALTER TABLE follow_ups SET (autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 1000);
"""

DOWN = """
ALTER TABLE webhook_log RESET (autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor);
ALTER TABLE webhook_changes
    RESET (autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor);
ALTER TABLE events RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_analyze_scale_factor);
ALTER TABLE follow_ups RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
INSERT INTO webhook_bodies (id, received_at, signature, body)
SELECT id, received_at, signature, body FROM unsettled_bodies ON CONFLICT DO NOTHING;
DROP TABLE unsettled_bodies, job_runs;
DROP TYPE job_outcome;
DROP INDEX webhook_log_unprocessed_idx, dead_letters_died_at_idx, dead_letters_closed_at_idx,
    follow_ups_ended_at_idx;
ALTER TABLE dead_letters
    DROP CONSTRAINT open_letters_keep_their_webhook,
    DROP CONSTRAINT dead_letters_webhook_id_fkey,
    ADD CONSTRAINT dead_letters_webhook_id_fkey FOREIGN KEY (webhook_id)
        REFERENCES webhook_log (id) ON DELETE CASCADE;
"""


def upgrade() -> None:
    # A webhook is stored as processed, as a rule: then this index has no entry of it.
    create_index_concurrently(
        "webhook_log_unprocessed_idx", "webhook_log (received_at) WHERE NOT processed"
    )
    create_index_concurrently(
        "dead_letters_died_at_idx", "dead_letters (died_at, id) WHERE closed_at IS NULL"
    )
    create_index_concurrently(
        "dead_letters_closed_at_idx", "dead_letters (closed_at) WHERE closed_at IS NOT NULL"
    )
    create_index_concurrently(
        "follow_ups_ended_at_idx", "follow_ups (ended_at) WHERE state = 'done'"
    )
    execute(LETTERS)
    with op.get_context().autocommit_block():
        execute(VALIDATE)
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
