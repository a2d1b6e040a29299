"""At midnight expired onboardings are marked, and what nobody needs any more is deleted."""

from datetime import UTC, datetime, timedelta

from pytest import MonkeyPatch

from services.scheduler.jobs.cleanup import clean_up
from shared.store import retention
from shared.store.connections import connections, eras, follow_ups, onboardings, organizations
from shared.store.connections import login_codes as codes
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn
from tests.support.aged import OWNER, ago
from tests.support.keys import TOKEN_RING


async def start(conn: Conn, code: str, *, has_token: bool = True) -> str:
    """Start an onboarding that expires in an hour. Return its id."""
    await organizations.add(conn, OWNER)
    later = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding(OWNER, code, later))
    onboarding = await onboardings.find(conn, code, organization_id=OWNER)
    assert onboarding is not None
    if has_token:
        digest = code.encode()
        assert await codes.start_exchange(conn, onboarding.id, digest)
        assert await codes.save_token(
            conn, TOKEN_RING, onboarding, "EAA-1", code_hash=digest, expires_at=None
        )
    return str(onboarding.id)


async def expire(conn: Conn, *ids: str) -> None:
    await conn.execute(
        "UPDATE whatsapp_onboarding SET expires_at = now() WHERE id::text = ANY($1)", list(ids)
    )


async def test_expired_onboardings_are_marked_and_lose_their_tokens(
    environment: dict[str, str], conn: Conn
) -> None:
    names = ("plain", "token", "proving", "blocked", "living", "done")
    ids = {name: await start(conn, name, has_token=name != "plain") for name in names}
    await follow_ups.add(conn, "prove", [ids["proving"], ids["blocked"]])
    await conn.execute("UPDATE follow_ups SET state = 'blocked' WHERE subject = $1", ids["blocked"])
    await conn.execute(
        "UPDATE whatsapp_onboarding SET state = 'completed', token = NULL WHERE id::text = $1",
        ids["done"],
    )
    await expire(conn, *(id_ for name, id_ in ids.items() if name != "living"))
    query = "SELECT id::text, state::text, token IS NOT NULL AS has_token FROM whatsapp_onboarding"
    before = await conn.fetch(query)
    await clean_up(dry_run=True)
    assert await conn.fetch(query) == before
    await clean_up(dry_run=False)
    left = {row["id"]: (row["state"], row["has_token"]) for row in await conn.fetch(query)}
    assert {name: left[id_] for name, id_ in ids.items()} == {
        "plain": ("expired", False),
        "token": ("expired", False),
        "proving": ("open", True),  # Meta only delays its proof
        "blocked": ("expired", False),
        "living": ("open", True),
        "done": ("completed", False),
    }
    assert not await follow_ups.is_open(conn, "prove", ids["blocked"])
    assert await follow_ups.is_open(conn, "prove", ids["proving"])
    counts = await conn.fetchval("SELECT counts::text FROM job_runs")
    assert '"onboardings": 3' in counts
    assert '"unproven_tokens": 2' in counts


async def test_old_records_go_and_younger_ones_stay(
    environment: dict[str, str], conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_BATCH", 2)
    for days in (*(401,) * 5, 399):
        await conn.execute(
            "INSERT INTO audit_log (id, at, actor, action, subject, reason)"
            " VALUES (gen_random_uuid(), $1, 'a', 'b', 'c', 'd')",
            ago(days),
        )
    for days in (366, 364):
        for column in ("revoked_at", "expires_at"):
            await conn.execute(
                f"INSERT INTO api_keys (id, name, hash, {column})"
                f" VALUES (gen_random_uuid(), 'key', '{column}{days}', $1)",
                ago(days),
            )
    await conn.execute(
        "INSERT INTO api_keys (id, name, hash) VALUES (gen_random_uuid(), 'living', 'living')"
    )
    for days in (91, 89):
        await conn.execute(
            "INSERT INTO job_runs (id, job, started_at, ended_at, outcome)"
            " VALUES (gen_random_uuid(), 'cleanup', $1, $1, 'succeeded')",
            ago(days),
        )
    for days in (31, 29):
        await conn.execute(
            "INSERT INTO replays (id, outcome, died_until, rate, actor, reason, total, finished_at)"
            " VALUES (gen_random_uuid(), 'replayed', $1, 50, 'a', 'b', 1, $1)",
            ago(days),
        )
    await conn.execute(
        "INSERT INTO dead_letters (id, kind, subject_id, blame, error, fingerprint, attempts,"
        " first_failed_at, closed_at, outcome, replay_id) SELECT gen_random_uuid(), 'message',"
        " gen_random_uuid(), 'ours', 'e', 'f', 1, now(), now(), 'replayed', id FROM replays"
        " WHERE finished_at > $1",
        ago(30),
    )
    await clean_up(dry_run=False)
    for table, left in (("audit_log", 1), ("api_keys", 3), ("job_runs", 2), ("replays", 1)):
        assert await conn.fetchval(f"SELECT count(*) FROM {table}") == left, table
    await conn.execute("UPDATE replays SET finished_at = $1", ago(31))
    await clean_up(dry_run=False)
    assert await conn.fetchval("SELECT count(*) FROM replays") == 1, "a letter names it"


async def test_what_was_provisioned_stays_known_while_the_waba_is_owned(
    environment: dict[str, str], conn: Conn
) -> None:
    await organizations.add(conn, OWNER)
    async with conn.transaction():
        await connections.ensure(conn, ["71", "72"])
        await eras.begin(conn, "71", OWNER, "tracking_code", ago(99))
    await follow_ups.add(conn, "provision", ["71", "72"])
    await follow_ups.add(conn, "read", ["71"])
    await conn.execute("UPDATE follow_ups SET state = 'done', ended_at = $1", ago(31))
    await follow_ups.add(conn, "read", ["72"])
    await clean_up(dry_run=False)
    left = await conn.fetch("SELECT kind::text, subject FROM follow_ups ORDER BY kind")
    assert [tuple(row) for row in left] == [("provision", "71"), ("read", "72")]
