"""Each frequent query finds its rows by an index, in tables of 100,000 rows."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from shared.crypto import KeyRing
from shared.domain.account_changes import NumberRef
from shared.domain.facts import ConnectionStatus, live_facts
from shared.domain.provisioning import Step
from shared.domain.token_health import TokenHealth
from shared.store import api_keys, due, events, people, retention
from shared.store.connections import (
    check_times,
    connections,
    eras,
    facts,
    follow_ups,
    health,
    numbers,
    onboardings,
    organizations,
    provision_steps,
    sessions,
    tokens,
    views,
)
from shared.store.connections import login_codes as codes
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.eras import Era
from shared.store.connections.follow_ups import FollowUp
from shared.store.connections.tokens import StoredToken
from shared.store.due import Lease, LeasedRows
from shared.store.intake import changes, dead_letters, letter_views, outcomes, replays, webhooks
from shared.store.intake.dead_letters import Letter
from shared.store.intake.replays import LetterSelection, Replay
from shared.store.pool import Conn
from tests.support import servers
from tests.support.keys import HASHER
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row
from tests.support.tokens import save_token

#: One worker fills the database.
pytestmark = pytest.mark.xdist_group("plans")

ROWS = 100_000
ID = UUID(int=1)
NOW = datetime.now(UTC)
LEASE = Lease(ID, 1)
REPLAY = Replay(ID, "replayed", LetterSelection(None, "4f", NOW), 100, 0, 0, 0, ID, None)
LETTER = Letter(
    ID,
    "webhook",
    ID,
    ID,
    "ours",
    "failed",
    "4f",
    4,
    NOW,
    NOW,
    None,
    None,
    None,
    None,
    None,
    None,
    0,
    None,
)
POSITION = retention.Position(NOW, ID)
FOLLOW_UP = FollowUp(ID, "provision", "71", 1, NOW, NOW)
ERA = Era(ID, "71", "org-1", "tracking_code", NOW, NOW, None, None, None, None)
CONNECTION = ConnectionRow("71", None, "no_owner_known", ConnectionStatus("orphan"), "51")

_FILL = f"""
INSERT INTO organizations SELECT 'org-' || n FROM generate_series(1, {ROWS // 10}) n;
INSERT INTO organization_businesses
    SELECT 'org-' || (n % {ROWS // 10} + 1), '5' || n FROM generate_series(1, {ROWS}) n;
INSERT INTO whatsapp_onboarding
    (id, organization_id, tracking_code, session_waba_id, expires_at)
    SELECT gen_random_uuid(), 'org-' || (n % {ROWS // 10} + 1), 'code-' || n, '7' || n,
           now() + n * interval '1 minute' FROM generate_series(1, {ROWS}) n;
INSERT INTO whatsapp_connections
    (id, waba_id, organization_id, attribution, owner_business_id)
    SELECT gen_random_uuid(), '7' || n,
           CASE WHEN n % 1000 > 0 THEN 'org-' || (n % {ROWS // 10} + 1) END,
           CASE WHEN n % 1000 > 0 THEN 'tracking_code' ELSE 'no_owner_known' END::attribution,
           '5' || n
    FROM generate_series(1, {ROWS}) n;
UPDATE whatsapp_connections SET token = '\\x00', token_at = now(),
    token_state = 'valid',
    next_check_at = now() + (random() - 0.01) * interval '1 day',
    token_checked_at = now() - random() * interval '1 day',
    token_expires_at = now() + random() * interval '60 days';
INSERT INTO connection_eras (id, waba_id, organization_id, basis, began_at, proven_at)
    SELECT gen_random_uuid(), waba_id, organization_id, 'tracking_code', now(), now()
    FROM whatsapp_connections WHERE organization_id IS NOT NULL;
INSERT INTO connection_facts (waba_id, digits, name, value, at, is_takedown)
    SELECT '7' || n, '', 'shared', 'shared', now(), false FROM generate_series(1, {ROWS}) n;
INSERT INTO phone_numbers (waba_id, digits)
    SELECT '7' || n, '1555' || n FROM generate_series(1, {ROWS}) n;
UPDATE whatsapp_onboarding SET waba_id = '7' || substr(tracking_code, 6), state = 'completed'
    WHERE tracking_code NOT LIKE '%7';
INSERT INTO webhook_log
    (id, received_at, digest, kind, lane, stored_via, state, processed, attempts)
    SELECT lpad(to_hex(n), 32, '0')::uuid, now() - n * interval '1 second', '\\x00', 'whatsapp',
           'fast', 'broker', CASE WHEN n % 500 = 0 THEN 'unsplit' ELSE 'split' END::webhook_state,
           n % 500 <> 0, n % 1000 / 500 FROM generate_series(1, {ROWS}) n;
INSERT INTO webhook_bodies (id, received_at, body)
    SELECT id, received_at, '\\x00' FROM webhook_log;
INSERT INTO unsettled_bodies (id, received_at, body) SELECT id, received_at, body
    FROM webhook_bodies;
INSERT INTO webhook_changes
    (id, webhook_id, received_at, key, field, waba_id, organization_id, subject_hash, state)
    SELECT gen_random_uuid(), id, received_at, sha256(id::text::bytea), 'messages',
           '7' || (random() * 2000)::int, 'org-1', sha256(id::text::bytea), 'processed'
    FROM webhook_log;
INSERT INTO change_people (change_id, hash)
    SELECT id, substring(subject_hash FOR 20) FROM webhook_changes;
UPDATE webhook_changes SET state = 'failed', next_attempt_at = now(), attempts = 1
    WHERE right(webhook_id::text, 2) = '00';
INSERT INTO dead_letters
    (id, kind, subject_id, webhook_id, blame, error, fingerprint, attempts, first_failed_at,
     closed_at, outcome)
    SELECT gen_random_uuid(), 'webhook', id, id, 'ours', 'failed', left(md5(id::text), 2), 4, now(),
           CASE WHEN right(id::text, 1) <> '0' THEN now() END,
           CASE WHEN right(id::text, 1) <> '0' THEN 'replayed' END::dead_letter_outcome
    FROM webhook_log;
INSERT INTO follow_ups (id, kind, subject, state, reason, ended_at)
    SELECT gen_random_uuid(), 'provision', '7' || n,
           CASE WHEN n % 100 > 0 THEN 'done' ELSE 'pending' END::follow_up_state, 'failed',
           CASE WHEN n % 100 > 0 THEN now() END
    FROM generate_series(1, {ROWS}) n;
INSERT INTO provision_steps (follow_up_id, waba_id, step, phone_number_id, done_at)
    SELECT id, subject, 'subscribe', '', now() FROM follow_ups;
INSERT INTO api_keys (id, name, hash)
    SELECT gen_random_uuid(), 'key', sha256(n::text::bytea) FROM generate_series(1, {ROWS}) n;
INSERT INTO events (id, type, organization_id, waba_id, published_at)
    SELECT id, 'change.messages', organization_id, waba_id,
           CASE WHEN right(id::text, 2) <> '00' THEN now() END FROM webhook_changes;
ANALYZE
"""


class Recorder:
    """A database handle that only records its statements."""

    def __init__(self, rows: Sequence[Any] = ()) -> None:
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self._rows = list(rows)

    async def fetch(self, sql: str, *arguments: Any, **_: Any) -> list[Any]:
        self.statements.append((sql, arguments))
        return self._rows

    async def fetchrow(self, sql: str, *arguments: Any) -> None:
        self.statements.append((sql, arguments))

    async def fetchval(self, sql: str, *arguments: Any) -> None:
        self.statements.append((sql, arguments))

    async def execute(self, sql: str, *arguments: Any) -> str:
        self.statements.append((sql, arguments))
        return "INSERT 0 0"


@pytest.fixture(scope="module")
async def full(worker: str) -> AsyncIterator[Conn]:
    conn = await asyncpg.connect(await servers.create_database(f"full_{worker}"))
    await conn.execute(_FILL)
    await conn.execute("VACUUM ANALYZE whatsapp_connections")  # as autovacuum does
    await conn.execute(
        "SET random_page_cost = 1.1"
    )  # as for an SSD: pages of an index cost no more
    await conn.execute("SET plan_cache_mode = force_generic_plan")
    yield conn
    await conn.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def plans(conn: Conn, sql: str, *arguments: Any) -> AsyncIterator[Any]:
    """Yield the plan for these arguments and PostgreSQL's generic plan for any arguments."""
    yield await conn.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
    types = [kind.name for kind in (await conn.prepare(sql)).get_parameters()]
    nulls = ["NULL"] * len(types)
    await conn.execute(f"PREPARE probe {_in_parentheses(types)} AS {sql}")
    try:
        yield await conn.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE probe {_in_parentheses(nulls)}")
    finally:
        await conn.execute("DEALLOCATE probe")


def _in_parentheses(words: list[str]) -> str:
    return f"({', '.join(words)})" if words else ""


async def assert_indexed(conn: Conn, sql: str, *arguments: Any) -> None:
    async for explained in plans(conn, sql, *arguments):
        plan = json.loads(explained)[0]["Plan"]
        kinds = [node["Node Type"] for node in nodes(plan)]
        scanned = {n["Relation Name"] for n in nodes(plan) if n["Node Type"] == "Seq Scan"}
        assert scanned <= {"old_keys"}, plan  # a table of one row
        assert any("Index" in kind for kind in kinds) or plan.get("Operation") == "Insert", plan


@pytest.mark.parametrize(
    "query",
    [
        lambda conn, _: due.lease(conn, "fresh"),
        lambda conn, _: due.lease(conn, "tried"),
        lambda conn, _: due.lease(conn, "change"),
        lambda conn, _: due.release(conn, LeasedRows("fresh", [LEASE], NOW), is_interrupted=True),
        lambda conn, _: due.release(conn, LeasedRows("change", [LEASE], NOW), is_interrupted=True),
        lambda conn, ring: webhooks.load_unsplit(conn, ring, [ID]),
        lambda conn, _: webhooks.sizes(conn, [ID]),
        lambda conn, _: webhooks.mark_split(conn, [ID]),
        lambda conn, _: webhooks.fail(conn, LEASE, "because", None),
        lambda conn, _: webhooks.open_change(conn, ID),
        lambda conn, _: webhooks.close_changes(conn, {ID: 1}),
        lambda conn, ring: webhooks.read_body(conn, ring, ID),
        lambda conn, ring: webhooks.insert(conn, ring, [make_webhook_row()]),
        lambda conn, ring: changes.insert(conn, ring, changes_of(make_webhook(), make_change(1))),
        lambda conn, ring: people.find(conn, HASHER, ring, "551155550111"),
        lambda conn, _: changes.load_leased(conn, LEASE),
        lambda conn, _: changes.mark_processed(conn, ID),
        lambda conn, _: changes.fail(conn, LEASE, "because", None),
        lambda conn, _: dead_letters.add_webhooks(conn, [ID], "ours"),
        lambda conn, _: dead_letters.add_changes(conn, [ID], "ours"),
        lambda conn, _: letter_views.by_ids(conn, [ID]),
        lambda conn, _: letter_views.about(conn, ID, limit=50),
        lambda conn, _: outcomes.find(conn, ID),
        lambda conn, _: outcomes.changes_of(conn, ID, only=None, limit=100),
        lambda conn, _: dead_letters.close(conn, [LETTER], outcome="replayed", replay_id=ID),
        lambda conn, _: replays.next_letters(conn, REPLAY, limit=100),
        lambda conn, _: events.add_for_changes(conn, [ID]),
        lambda conn, _: events.lease(conn),
        lambda conn, _: events.mark_published(conn, [ID], unrouted=[]),
        lambda conn, _: events.put_off(conn, [ID], timedelta(seconds=1)),
        lambda conn, _: changes.assign(conn, "71", limit=100),
        lambda conn, _: connections.ensure(conn, ["71"]),
        lambda conn, _: connections.lock(conn, ["71"]),
        lambda conn, _: connections.save(conn, [CONNECTION]),
        lambda conn, _: changes.is_any_owed(conn, "71"),
        lambda conn, _: eras.history(conn, "71"),
        lambda conn, _: sessions.time_to_expiry(conn, "71"),
        lambda conn, _: connections.depending_on(conn, ["71"], ["51"]),
        lambda conn, _: views.connection(conn, "71", organization_id="org-1"),
        lambda conn, _: views.connections(conn, organization_id="org-1"),
        lambda conn, _: due.lease_follow_up(conn, follow_ups.FOLLOW_UP_KINDS),
        lambda conn, _: check_times.lease(conn, 20),
        lambda conn, ring: health.load(conn, ring, "71"),
        lambda conn, _: health.save(
            conn, "71", TokenHealth("valid"), is_answered=True, is_debugged=True
        ),
        lambda conn, _: check_times.set_due(conn, "71", NOW),
        lambda conn, _: check_times.make_due(conn, ["71"]),
        lambda conn, _: health.recent_checks(conn, left_out="71"),
        lambda conn, _: check_times.bring_forward(conn, "71"),
        lambda conn, _: health.count(conn),
        lambda conn, _: check_times.give_due_times(conn, timedelta(days=1)),
        lambda conn, _: check_times.overdue(conn, timedelta(hours=1), 1000),
        lambda conn, _: check_times.count_unworked(conn, {"71": NOW}),
        lambda conn, _: tokens.set_state(conn, "71", "revoked", StoredToken("token", NOW)),
        lambda conn, _: facts.of_numbers(conn, "71", ["number_status"]),
        lambda conn, _: follow_ups.add(conn, "provision", ["71"]),
        lambda conn, _: follow_ups.load(conn, LEASE),
        lambda conn, _: follow_ups.end(conn, FOLLOW_UP),
        lambda conn, _: provision_steps.end(conn, FOLLOW_UP, Step("subscribe")),
        lambda conn, _: provision_steps.done(conn, FOLLOW_UP, proven_at=NOW),
        lambda conn, _: follow_ups.close(conn, ["disconnect"], "71"),
        lambda conn, _: follow_ups.wake_waiting(conn, ["71"]),
        lambda conn, _: eras.latest(conn, ["71"]),
        lambda conn, _: numbers.current(conn, "71"),
        lambda conn, ring: save_token(conn, ring, "71", "token"),
        lambda conn, _: onboardings.find(conn, "code-1", organization_id="org-1"),
        lambda conn, _: onboardings.by_id(conn, ID),
        lambda conn, _: onboardings.unfinished(conn, limit=50),
        lambda conn, _: codes.start_exchange(conn, ID, b"\x00"),
        lambda conn, _: eras.end(conn, ERA, "released"),
        lambda conn, _: api_keys.use(conn, "porteiro_x"),
        lambda conn, _: facts.record(conn, {"71": live_facts(NOW)}),
        lambda conn, _: facts.current(conn, ["71"]),
        lambda conn, _: facts.add_numbers(conn, [("71", NumberRef("15551", None))]),
        lambda conn, _: organizations.owners(conn, ["51"]),
        lambda conn, _: onboardings.complete(conn, ID, "71", NOW),
        lambda conn, _: eras.proven_wabas(conn, "org-1"),
        lambda conn, _: sessions.naming(conn, ["71"]),
        lambda conn, _: retention.delete_events(conn, NOW, POSITION),
        lambda conn, _: retention.delete_webhooks(conn, NOW, NOW, POSITION),
        lambda conn, _: retention.delete_aged(conn, retention.CLOSED_LETTERS, NOW),
        lambda conn, _: replays.old_letters(conn, NOW, limit=100),
    ],
)
async def test_the_statements_of_the_store(full: Conn, ring: KeyRing, query: Any) -> None:
    recorder = Recorder()
    await query(cast("Conn", recorder), ring)
    assert recorder.statements
    for sql, arguments in recorder.statements:
        if "pg_advisory_xact_lock" in sql or "set_config" in sql:
            continue
        await assert_indexed(full, sql, *arguments)


@pytest.mark.parametrize(
    ("sql", "argument"),
    [
        ("SELECT id FROM webhook_changes WHERE webhook_id = $1", ID),
        ("SELECT id FROM webhook_changes WHERE key = $1", b"\x00" * 32),
        ("SELECT id FROM webhook_changes WHERE subject_hash = $1", b"\x00" * 32),
        ("SELECT id FROM webhook_changes WHERE waba_id = $1 AND organization_id IS NULL", "71"),
        ("SELECT id FROM whatsapp_connections WHERE organization_id = $1", "org-1"),
        ("SELECT id FROM whatsapp_connections WHERE waba_id = $1", "71"),
        ("SELECT id FROM whatsapp_onboarding WHERE tracking_code_hash = $1", b"1"),
        ("SELECT organization_id FROM organization_businesses WHERE business_id = $1", "51"),
    ],
)
async def test_frequent_lookups(full: Conn, sql: str, argument: Any) -> None:
    await assert_indexed(full, sql, argument)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM whatsapp_onboarding WHERE expires_at < now() + interval '1 hour'",
        "SELECT id FROM webhook_log WHERE received_at > now() - interval '1 minute'",
    ],
)
async def test_ranges_of_time(full: Conn, sql: str) -> None:
    await assert_indexed(full, sql)


async def test_retention_finds_rows_by_their_ids(full: Conn) -> None:
    """What it does with the rows that it has looked at."""
    looked_at = {"id": ID, "received_at": NOW, "at": NOW, "is_unrouted": False}
    recorder = Recorder([looked_at])
    await retention.delete_events(cast("Conn", recorder), NOW, POSITION)
    await retention.delete_webhooks(cast("Conn", recorder), NOW, NOW, POSITION)
    assert len(recorder.statements) == 6
    for sql, arguments in recorder.statements:
        await assert_indexed(full, sql, *arguments)


async def test_the_named_indexes_keep_their_names(full: Conn) -> None:
    for name in ("whatsapp_onboarding_expiresAt_idx", "whatsapp_connections_organizationId_idx"):
        assert await full.fetchval("SELECT 1 FROM pg_indexes WHERE indexname = $1", name) == 1


async def test_what_nobody_owns_costs_the_standing_query_nothing(
    worker: str,
) -> None:
    """A million changes of ten thousand orphans wait for an owner, and none is owed."""
    conn = await asyncpg.connect(await servers.create_database(f"orphans_{worker}"))
    try:
        await conn.execute(
            """
            INSERT INTO organizations (id) VALUES ('org-1');
            INSERT INTO whatsapp_connections (id, waba_id, owner_business_id)
                SELECT gen_random_uuid(), n::text, '5' || n FROM generate_series(1, 10000) n;
            INSERT INTO follow_ups (id, kind, subject, state, ended_at)
                SELECT gen_random_uuid(), 'attribute', waba_id, 'done', now()
                FROM whatsapp_connections;
            INSERT INTO webhook_log
                (id, received_at, digest, kind, lane, stored_via, state, processed)
                VALUES (gen_random_uuid(), now(), '', 'whatsapp', 'fast', 'broker', 'split', true);
            INSERT INTO webhook_changes (id, webhook_id, received_at, key, waba_id, state)
                SELECT gen_random_uuid(), id, received_at, int4send(n), (n % 10000 + 1)::text,
                       'processed'
                FROM webhook_log, generate_series(1, 1000000) n;
            ANALYZE
            """,
            timeout=100,
        )
        recorder = Recorder()
        await due.lease_follow_up(cast("Conn", recorder), ["attribute"])
        [(sql, arguments)] = [s for s in recorder.statements if "pg_advisory" not in s[0]]
        [plan] = json.loads(
            await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
        )
        rows = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in nodes(plan["Plan"])
        )
        assert rows < 1000
    finally:
        await conn.close()
