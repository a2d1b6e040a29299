"""People by a hash of each of their ids, many a change."""

from shared.store.migrations.statements import execute

revision = "0014"
down_revision = "0013"

# `hash` begins with the four bytes of its key's id. `webhook_changes.subject_hash`, which versions
# before this one write, is read until the next version.
UP = """
CREATE TABLE change_people (
    change_id uuid NOT NULL REFERENCES webhook_changes (id) ON DELETE CASCADE,
    hash bytea NOT NULL,
    PRIMARY KEY (hash, change_id)
);
CREATE INDEX change_people_change_id_idx ON change_people (change_id);
ALTER TABLE change_people SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02);
"""

DOWN = """
DROP TABLE change_people;
"""


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
