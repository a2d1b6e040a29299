"""Indexes that grow at their end: keys begin with a time, people are found minute by minute.

What falls on any page of a large index writes that whole page to the log, once a checkpoint.
"""

from shared.store.migrations.statements import create_index_concurrently, execute

revision = "0018"
down_revision = "0017"

# `below` is what the key of a change of tomorrow begins with. What is from before has the key that
# the version before gives it: for that day both may run. No row: nothing has.
UP = """
CREATE TABLE old_keys (below bytea NOT NULL);
INSERT INTO old_keys
    SELECT substring(int8send(extract(epoch FROM now() + interval '1 day')::bigint) FROM 5)
    WHERE EXISTS (SELECT FROM webhook_changes);
DROP INDEX events_once_idx;
-- 0014 is of the same version: no upgrade finds a row here.
ALTER TABLE change_people DROP CONSTRAINT change_people_pkey, ADD PRIMARY KEY (change_id, hash);
DROP INDEX change_people_change_id_idx;
-- The first four bytes of a UUIDv7 count 65,536 ms.
CREATE INDEX change_people_hash_idx
    ON change_people (substring(uuid_send(change_id) FOR 4), hash);
"""

DOWN = """
DROP TABLE old_keys;
CREATE UNIQUE INDEX events_once_idx ON events (waba_id, revision, type, organization_id);
DROP INDEX events_once_a_revision_idx, change_people_hash_idx;
ALTER TABLE change_people DROP CONSTRAINT change_people_pkey, ADD PRIMARY KEY (hash, change_id);
CREATE INDEX change_people_change_id_idx ON change_people (change_id);
"""


def upgrade() -> None:
    # An event of a change has no revision: its id is its change's.
    create_index_concurrently(
        "events_once_a_revision_idx",
        "events (waba_id, revision, type, organization_id) WHERE revision IS NOT NULL",
        unique=True,
    )
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
