"""The schema migrates up, down and up again, and has the designed types, keys and indexes."""

import asyncio
import os
import sys
from datetime import UTC, datetime

import asyncpg

from shared.store.intake import changes, partitions
from shared.store.migrate import migrate, newest_revision
from shared.store.pool import REQUIRED_REVISION, Conn
from tests.support.waiting import eventually

OBJECTS = """
    SELECT relkind::text || ' ' || relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic%'
    UNION
    SELECT 'type ' || typname FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typname NOT LIKE '%alembic%'
    UNION
    SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


async def values(conn: Conn, query: str) -> set[object]:
    return {record[0] for record in await conn.fetch(query)}


async def test_down_leaves_nothing_and_up_again_makes_the_same_schema(
    migrated: Conn, empty_database_url: str
) -> None:
    objects = await values(migrated, OBJECTS)
    assert {"r webhook_log", "type change_state"} <= objects
    await partitions.add_ahead(migrated, datetime.now(UTC).date())

    await migrate(empty_database_url, "base")
    assert await values(migrated, OBJECTS) == set()

    await migrate(empty_database_url)
    assert await values(migrated, OBJECTS) == objects


async def test_migrators_at_the_same_time_take_turns(empty_database_url: str) -> None:
    """They are processes, because Alembic has its context in a global variable."""
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute("SELECT pg_advisory_lock(hashtext('porteiro migrate'))")
        migrators = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.scheduler", "migrate"),
                env={**os.environ, "ENVIRONMENT": "local", "DATABASE_URL": empty_database_url},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            for _ in range(3)
        ]

        async def all_are_connected() -> bool:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            count = await conn.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")
            return bool(count == 3)

        await eventually(all_are_connected)
        await conn.execute("SELECT pg_advisory_unlock_all()")
        outputs = await asyncio.gather(*(migrator.communicate() for migrator in migrators))
        assert [migrator.returncode for migrator in migrators] == [0] * 3, outputs
        versions = await values(conn, "SELECT version_num FROM alembic_version")
        assert versions == {newest_revision()}
    finally:
        await conn.close()


def test_the_code_requires_the_newest_revision() -> None:
    assert newest_revision() == REQUIRED_REVISION


async def test_every_state_is_an_enum(conn: Conn) -> None:
    kinds = await conn.fetch(
        """
        SELECT attrelid::regclass::text || '.' || attname AS name, typtype::text
        FROM pg_attribute
            JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type ON pg_type.oid = atttypid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND (attname LIKE '%state'
                OR attname IN ('kind', 'lane', 'stored_via', 'blame', 'outcome'))
        """
    )
    assert {record["name"]: record["typtype"] for record in kinds} == {
        "dead_letters.blame": "e",
        "dead_letters.kind": "e",
        "dead_letters.outcome": "e",
        "follow_ups.kind": "e",
        "follow_ups.state": "e",
        "job_runs.outcome": "e",
        "replays.outcome": "e",
        "webhook_changes.state": "e",
        "webhook_log.kind": "e",
        "webhook_log.lane": "e",
        "webhook_log.stored_via": "e",
        "webhook_log.state": "e",
        "whatsapp_connections.state": "e",
        "whatsapp_connections.token_state": "e",
        "whatsapp_onboarding.state": "e",
    }


async def test_relations_are_foreign_keys(conn: Conn) -> None:
    relations = await values(
        conn,
        """
        SELECT conrelid::regclass || '.' || attname || ' -> ' || confrelid::regclass
        FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)
        WHERE contype = 'f'
        """,
    )
    assert relations == {
        "change_people.change_id -> webhook_changes",
        "dead_letters.replay_id -> replays",
        "dead_letters.webhook_id -> webhook_log",
        "events.organization_id -> organizations",
        "connection_eras.organization_id -> organizations",
        "connection_eras.waba_id -> whatsapp_connections",
        "api_keys.organization_id -> organizations",
        "provision_steps.follow_up_id -> follow_ups",
        "unsettled_bodies.id -> webhook_log",
        "organization_businesses.organization_id -> organizations",
        "webhook_changes.organization_id -> organizations",
        "webhook_changes.webhook_id -> webhook_log",
        "whatsapp_connections.organization_id -> organizations",
        "whatsapp_onboarding.organization_id -> organizations",
    }


async def test_the_named_indexes_have_exactly_their_names(conn: Conn) -> None:
    indexes = await conn.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'whatsapp\\_%Id_idx'"
        " OR indexname LIKE 'whatsapp\\_%At_idx'"
    )
    columns = {i["indexname"]: i["indexdef"].partition(" USING ")[2] for i in indexes}
    assert columns == {
        "whatsapp_onboarding_expiresAt_idx": "btree (expires_at)",
        "whatsapp_connections_organizationId_idx": "btree (organization_id)",
    }


async def test_0005_makes_withdrawn_owners_provisional_and_its_downgrade_restores_the_old_values(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url, "0004")
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute(
            """
            INSERT INTO organizations (id) VALUES ('bakery');
            INSERT INTO whatsapp_connections (id, waba_id, organization_id, attribution)
            SELECT gen_random_uuid(), n::text, 'bakery', 'tracking_code'
            FROM generate_series(1, 2) n;
            INSERT INTO whatsapp_onboarding
                (id, organization_id, tracking_code, expires_at, waba_id, proven_at, withdrawn_at)
            SELECT gen_random_uuid(), 'bakery', n::text, now(), n::text, now(),
                   CASE WHEN n = 1 THEN now() END
            FROM generate_series(1, 2) n;
            """
        )
        await migrate(empty_database_url, "0005")
        owners = "SELECT attribution::text FROM whatsapp_connections ORDER BY waba_id"
        attributions = [record[0] for record in await conn.fetch(owners)]
        assert attributions == ["owner_business", "tracking_code"]
        query = "SELECT withdrawn_at IS NULL FROM whatsapp_connections ORDER BY waba_id"
        assert [record[0] for record in await conn.fetch(query)] == [False, True]
        await conn.execute(
            "UPDATE whatsapp_connections SET attribution = 'withdrawn' WHERE waba_id = '2'"
        )
        await migrate(empty_database_url, "0004")
        attributions = [record[0] for record in await conn.fetch(owners)]
        assert attributions == ["owner_business", "tracking_code"]
    finally:
        await conn.close()


async def test_rows_of_a_0005_database_go_up_and_down_with_their_values(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url, "0005")
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute(
            """
            INSERT INTO webhook_log (id, received_at, digest, kind, lane, road, state)
            SELECT gen_random_uuid(), now(), '', 'whatsapp', 'fast', road, 'split'
            FROM unnest(enum_range(NULL::road)) AS road;
            INSERT INTO webhook_changes (id, webhook_id, received_at, key, state)
            SELECT gen_random_uuid(), id, now(), convert_to(road::text, 'UTF8'), 'dead'
            FROM webhook_log;
            INSERT INTO dead_letters (id, kind, subject_id, webhook_id, blame, error, fingerprint,
                                      attempts, first_failed_at)
            SELECT gen_random_uuid(), 'change', id, webhook_id, 'ours', 'failed: E in shared.x',
                   'f', 4, now() FROM webhook_changes;
            INSERT INTO dead_letters (id, kind, subject_id, blame, error, fingerprint, attempts,
                                      first_failed_at, closed_at, outcome)
            VALUES (gen_random_uuid(), 'envelope', gen_random_uuid(), 'ours', 'e', 'f', 1, now(),
                    now(), 'discarded');
            INSERT INTO replays (id, outcome, died_until, rate, actor, reason, total, kept)
            VALUES (gen_random_uuid(), 'replayed', now(), 50, 'ana', 'r', 3, 2);
            INSERT INTO organizations (id) VALUES ('bakery');
            INSERT INTO whatsapp_onboarding
                (id, organization_id, tracking_code, expires_at, claimed_waba_id)
            VALUES (gen_random_uuid(), 'bakery', 'c', now(), '71');
            INSERT INTO connection_facts (waba_id, digits, name, value, at, is_takedown)
            SELECT '71', '', name, 'webhook', now(), false FROM unnest('{heard,ban}'::text[]) name;
            """
        )
        await migrate(empty_database_url, "0006")
        via = "SELECT stored_via::text FROM webhook_log"
        assert await values(conn, via) == {"broker", "database"}
        assert await values(conn, "SELECT skipped FROM replays") == {2}
        assert await values(conn, "SELECT session_waba_id FROM whatsapp_onboarding") == {"71"}
        names = "SELECT name FROM connection_facts"
        assert await values(conn, names) == {"webhook_received", "ban"}
        open_letters = "SELECT count(*) FROM dead_letters WHERE closed_at IS NULL"
        assert await values(conn, open_letters) == {2}
        kinds = "SELECT kind::text FROM dead_letters"
        assert await values(conn, kinds) == {"change", "message"}

        await migrate(empty_database_url, "0005")
        old_via = "SELECT road::text FROM webhook_log"
        assert await values(conn, old_via) == {"broker", "database"}
        assert await values(conn, "SELECT kept FROM replays") == {2}
        assert await values(conn, "SELECT claimed_waba_id FROM whatsapp_onboarding") == {"71"}
        assert await values(conn, names) == {"heard", "ban"}
        assert await values(conn, open_letters) == {2}
        assert await values(conn, kinds) == {"change", "envelope"}
    finally:
        await conn.close()


async def test_owners_of_0_1_0_become_eras_and_go_back(empty_database_url: str) -> None:
    """1 is ana's; 2 was ana's and is bia's; 3 is claimed; 4 was unshared; 5 was disconnected, 6 is
    being disconnected."""
    await migrate(empty_database_url, "0006")
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute(
            """
            INSERT INTO organizations (id) VALUES ('ana'), ('bia');
            INSERT INTO whatsapp_connections
                (id, waba_id, organization_id, attribution, state, reason, withdrawn_at,
                 is_stamping)
            SELECT gen_random_uuid(), waba, organization, why::attribution,
                   state::connection_state, reason, withdrawn_at, waba = '2'
            FROM (VALUES
                ('1', 'ana', 'tracking_code', 'active', NULL, NULL),
                ('2', 'bia', 'tracking_code', 'active', NULL, now() - interval '2 days'),
                ('3', 'ana', 'tracking_code', 'active', NULL, NULL),
                ('4', 'ana', 'tracking_code', 'disconnected', 'unshared', NULL),
                ('5', 'ana', 'withdrawn', 'disconnected', 'disconnected_by_us',
                 now() - interval '1 day'),
                ('6', 'ana', 'tracking_code', 'active', NULL, NULL)
            ) AS row (waba, organization, why, state, reason, withdrawn_at);
            INSERT INTO follow_ups (id, kind, subject)
            VALUES (gen_random_uuid(), 'disconnect', '6');
            INSERT INTO whatsapp_onboarding
                (id, organization_id, tracking_code, expires_at, state, waba_id, flow, proven_at,
                 withdrawn_at)
            SELECT gen_random_uuid(), organization, waba || organization, now(), 'completed', waba,
                   flow::onboarding_flow, now() - age::interval, now() - withdrawn::interval
            FROM (VALUES
                ('1', 'ana', 'popup', '9 days', NULL), ('2', 'ana', 'popup', '9 days', '2 days'),
                ('2', 'bia', 'popup', '1 day', NULL), ('3', 'ana', 'claim', '9 days', NULL),
                ('4', 'ana', 'popup', '9 days', NULL), ('5', 'ana', 'popup', '9 days', '1 day'),
                ('6', 'ana', 'popup', '9 days', NULL)
            ) AS row (waba, organization, flow, age, withdrawn);
            INSERT INTO webhook_log (id, received_at, digest, kind, lane, stored_via, state)
            VALUES (gen_random_uuid(), now() - interval '3 days', '', 'whatsapp', 'fast', 'broker',
                    'split');
            INSERT INTO webhook_changes (id, webhook_id, received_at, key, waba_id, state)
            SELECT gen_random_uuid(), id, received_at, '', '2', 'processed' FROM webhook_log;
            """
        )
        owners = "SELECT waba_id || ' ' || organization_id FROM whatsapp_connections"
        before = await values(conn, owners)
        proofs = "SELECT tracking_code FROM whatsapp_onboarding WHERE withdrawn_at IS NOT NULL"
        withdrawn = await values(conn, proofs)

        await migrate(empty_database_url)
        assert await values(conn, owners) == before
        rows = await conn.fetch(
            "SELECT waba_id, organization_id, basis, suspended_at IS NOT NULL, ended_at IS NULL"
            " FROM connection_eras ORDER BY waba_id, ended_at"
        )
        assert [tuple(row) for row in rows] == [
            ("1", "ana", "tracking_code", False, True),
            ("2", "ana", "tracking_code", False, False),
            ("2", "bia", "tracking_code", False, True),
            ("3", "ana", "claimed", False, True),
            ("4", "ana", "tracking_code", True, True),
            ("5", "ana", "tracking_code", False, False),
            ("6", "ana", "tracking_code", False, False),
        ]
        why = "SELECT waba_id || ' ' || attribution FROM whatsapp_connections"
        assert await values(conn, why) >= {"3 claimed", "5 former"}
        assert await changes.assign(conn, "2", limit=10) == 1  # half stamped: it is ana's
        assert await values(conn, "SELECT organization_id FROM webhook_changes") == {"ana"}
        assert await conn.fetchval("SELECT subject FROM follow_ups WHERE kind = 'read'") == "4"

        await conn.execute(
            "UPDATE connection_eras SET ended_at = now(), end_reason = 'released'"
            " WHERE waba_id = '1'"
        )
        await conn.execute(
            "UPDATE whatsapp_connections SET owner_business_id = '8' WHERE waba_id = '2'"
        )
        await migrate(empty_database_url, "0006")
        assert await values(conn, owners) == before
        assert await values(conn, proofs) == {*withdrawn, "1ana", "6ana"}
        businesses = "SELECT organization_id || business_id FROM organization_businesses"
        assert await values(conn, businesses) == {"bia8"}
        assert await values(conn, why) >= {"3 tracking_code", "5 withdrawn"}
    finally:
        await conn.close()
