"""Tokens and PINs open only in their own rows, and their keys rotate while they are in use."""

import asyncio
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from shared.crypto import KeyRing, Undecryptable
from shared.domain.numbers import PhoneNumber
from shared.process.lifecycle import EXIT_REFUSED
from shared.store import rotation
from shared.store.connections import connections, numbers, onboardings, organizations, tokens
from shared.store.connections import login_codes as codes
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, transaction
from shared.store.rotation import MAX_BATCH
from tests.support.command_line import porteiro
from tests.support.environment import TOKEN_KEY
from tests.support.tokens import save_token

TOKEN = "EAAcustomer-4711"
NEW_KEY = (
    "b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef"  # pragma: allowlist secret
)
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def token_ring() -> KeyRing:
    return KeyRing([bytes.fromhex(TOKEN_KEY)])


async def save_tokens(conn: Conn, ring: KeyRing, *wabas: str) -> None:
    async with conn.transaction():
        await connections.ensure(conn, wabas)
        for waba in wabas:
            await save_token(conn, ring, waba, f"{TOKEN}-{waba}")


async def test_a_token_opens_only_in_its_own_row(conn: Conn, token_ring: KeyRing) -> None:
    await save_tokens(conn, token_ring, "71", "72")
    token = await tokens.read(conn, token_ring, "71")
    assert token is not None
    assert token.text == f"{TOKEN}-71"
    assert TOKEN not in repr(token)
    await conn.execute(
        "UPDATE whatsapp_connections SET token = (SELECT token FROM whatsapp_connections"
        " WHERE waba_id = '72') WHERE waba_id = '71'"
    )
    with pytest.raises(Undecryptable):
        await tokens.read(conn, token_ring, "71")


async def test_every_flipped_byte_is_refused(conn: Conn, token_ring: KeyRing) -> None:
    await save_tokens(conn, token_ring, "71")
    sealed = await conn.fetchval("SELECT token FROM whatsapp_connections")
    for index in range(len(sealed)):
        broken = bytearray(sealed)
        broken[index] ^= 1
        await conn.execute("UPDATE whatsapp_connections SET token = $1", bytes(broken))
        with pytest.raises(Undecryptable):
            await tokens.read(conn, token_ring, "71")


async def test_an_unproven_token_does_not_open_in_a_connection(
    conn: Conn, token_ring: KeyRing
) -> None:
    await organizations.add(conn, "ana")
    await onboardings.start(conn, token_ring, NewOnboarding("ana", "code-1", LATER))
    onboarding = await onboardings.find(conn, "code-1", organization_id="ana")
    assert onboarding is not None
    assert await codes.start_exchange(conn, onboarding.id, b"hash")
    assert await codes.save_token(
        conn, token_ring, onboarding, TOKEN, code_hash=b"hash", expires_at=None
    )
    token = await codes.read_token(conn, token_ring, onboarding)
    assert token is not None
    assert (token.text, token.expires_at) == (TOKEN, None)
    await save_tokens(conn, token_ring, "71")
    await conn.execute(
        "UPDATE whatsapp_connections SET token = (SELECT token FROM whatsapp_onboarding)"
    )
    with pytest.raises(Undecryptable):
        await tokens.read(conn, token_ring, "71")


async def test_a_pin_is_stored_once_and_sealed(conn: Conn, token_ring: KeyRing) -> None:
    await numbers.save(
        conn, "71", [PhoneNumber("61", "1555", is_coexistence=False, is_registered=False)]
    )
    assert await tokens.ensure_pin(conn, token_ring, "71", "61", "314159") == "314159"
    assert await tokens.ensure_pin(conn, token_ring, "71", "61", "271828") == "314159"
    assert b"314159" not in await conn.fetchval("SELECT pin FROM phone_numbers")


async def test_keys_are_rotated_under_traffic_through_a_crash(
    environment: dict[str, str], pool: Pool, conn: Conn, token_ring: KeyRing
) -> None:
    wabas = [str(7_000_000 + n) for n in range(3 * MAX_BATCH)]
    await save_tokens(conn, token_ring, *wabas)
    both_keys = KeyRing([bytes.fromhex(NEW_KEY), bytes.fromhex(TOKEN_KEY)])
    keys = {"TOKEN_ENCRYPTION_KEY": NEW_KEY, "TOKEN_ENCRYPTION_KEYS_PREVIOUS": TOKEN_KEY}
    is_over = asyncio.Event()

    async def traffic() -> int:
        """Read tokens without a pause, and replace some of them. Return the number of reads."""
        reads = 0
        while not is_over.is_set():
            for waba in wabas[:: MAX_BATCH // 10]:
                async with transaction(pool) as tx:
                    token = await tokens.read(tx, both_keys, waba)
                    assert token is not None
                    assert token.text.startswith(TOKEN)
                    if reads % 7 == 0:
                        new_token = f"{TOKEN}-{waba}-again"
                        await save_token(tx, both_keys, waba, new_token)
                reads += 1
        return reads

    reading = asyncio.create_task(traffic())
    code, _ = await porteiro("rotate-keys", CRASH_AT="keys.resealing:2", **keys)
    assert code == -signal.SIGKILL
    old = write_id(token_ring)
    counts = await _counts(conn)
    assert 0 < counts[old] < len(wabas)
    code, log = await porteiro("rotate-keys", **keys)
    is_over.set()
    assert (code, await reading > 0) == (0, True), log
    assert await _counts(conn) == {write_id(both_keys): len(wabas)}
    assert f'"count":{len(wabas)}' in log
    only_new = KeyRing([bytes.fromhex(NEW_KEY)])
    for waba in wabas[::100]:
        token = await tokens.read(conn, only_new, waba)
        assert token is not None
        assert token.text.startswith(f"{TOKEN}-{waba}")


def write_id(ring: KeyRing) -> str:
    return ring.write_id.hex()


async def _counts(conn: Conn) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT encode(substring(token FROM 2 FOR 4), 'hex') AS id, count(*)"
        " FROM whatsapp_connections GROUP BY 1"
    )
    return {row["id"]: row["count"] for row in rows}


async def test_a_row_that_no_key_opens_is_left_and_reported(
    environment: dict[str, str], conn: Conn, token_ring: KeyRing
) -> None:
    await save_tokens(conn, token_ring, "71", "72")
    await conn.execute(
        "UPDATE whatsapp_connections SET token = set_byte(token, 40, get_byte(token, 40) # 1)"
        " WHERE waba_id = '71'"
    )
    keys = {"TOKEN_ENCRYPTION_KEY": NEW_KEY, "TOKEN_ENCRYPTION_KEYS_PREVIOUS": TOKEN_KEY}
    code, log = await porteiro("rotate-keys", **keys)
    assert (code, "1 rows are sealed under no key of the ring" in log) == (EXIT_REFUSED, True)
    assert len(await _counts(conn)) == 2


async def test_a_dry_run_counts_and_changes_nothing(
    environment: dict[str, str], conn: Conn, token_ring: KeyRing
) -> None:
    await save_tokens(conn, token_ring, "71", "72")
    before = await conn.fetch("SELECT token FROM whatsapp_connections ORDER BY waba_id")
    keys = {"TOKEN_ENCRYPTION_KEY": NEW_KEY, "TOKEN_ENCRYPTION_KEYS_PREVIOUS": TOKEN_KEY}
    code, log = await porteiro("rotate-keys", "--dry-run", **keys)
    assert (code, '"count":2' in log, '"newest":false' in log) == (0, True, True)
    assert await conn.fetch("SELECT token FROM whatsapp_connections ORDER BY waba_id") == before
    assert os.environ["TOKEN_ENCRYPTION_KEY"] == TOKEN_KEY


async def test_a_dry_run_without_rows_says_so(environment: dict[str, str]) -> None:
    code, log = await porteiro("rotate-keys", "--dry-run")
    assert (code, '"count":0' in log) == (0, True)


async def test_a_token_that_is_saved_while_its_row_is_resealed_stays(
    pool: Pool, conn: Conn, token_ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save_tokens(conn, token_ring, "71")
    newer = KeyRing([bytes.fromhex(NEW_KEY), bytes.fromhex(TOKEN_KEY)])
    [column] = [c for c in rotation.COLUMNS["tokens"] if c.table == "whatsapp_connections"]
    swap = rotation._swap

    async def swap_later(
        tx: Conn, sealed: rotation.SealedColumn, swaps: Sequence[tuple[object, ...]]
    ) -> None:
        async with transaction(pool) as other:
            await save_token(other, newer, "71", "EAAfresh")
        await swap(tx, sealed, swaps)

    monkeypatch.setattr(rotation, "_swap", swap_later)
    async with transaction(pool) as tx:
        await rotation.reseal(tx, newer, column, after=None)
    stored = await tokens.read(conn, newer, "71")
    assert stored is not None
    assert stored.text == "EAAfresh"
