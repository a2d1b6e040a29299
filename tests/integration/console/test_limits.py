"""What the console limits: addresses, organizations, keys, and what they have under way at once."""

import asyncio

import pytest
from pytest import MonkeyPatch
from yarl import URL

from deploy.local.stack.servers import free_port
from services.console.api.check_connection import PER_LIVE_CHECK
from services.console.http.concurrency import AT_ONCE
from shared.store import api_keys
from shared.store.pool import Conn
from tests.support import running
from tests.support.keys import make_key
from tests.support.onboarding_setup import CHECK, CONNECTIONS, Installation
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually

LIMIT = 5


@pytest.fixture(autouse=True)
def _limits(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_PER_ORGANIZATION", str(LIMIT))


async def test_an_organization_is_limited_whichever_key_names_it(
    installation: Installation, conn: Conn
) -> None:
    await conn.execute("INSERT INTO organizations (id) VALUES ('bakery')")
    other_key = await make_key(conn, name="other")
    their_key = await make_key(conn, "bakery", "theirs")
    named = f"{CONNECTIONS}?organization_id=bakery"
    for path, key in ((named, None), (named, other_key), (CONNECTIONS, their_key), (named, None)):
        await installation.request("GET", path, key=key)
    start = {"organization_id": "bakery"}
    await installation.request("POST", "/api/v1/whatsapp/onboarding", start, status=201)
    for path, key in ((named, None), (named, other_key), (CONNECTIONS, their_key)):
        refused = await installation.request("GET", path, key=key, status=429)
        assert refused["code"] == "too_many"
    await installation.request("GET", f"{CONNECTIONS}?organization_id=pharmacy")
    for _ in range(2 * LIMIT):  # without a name the key has a limit of its own
        await installation.request("GET", CONNECTIONS)


async def test_a_refusal_names_the_limit(installation: Installation) -> None:
    path = f"{CONNECTIONS}?organization_id=bakery"
    for _ in range(LIMIT):
        await installation.request("GET", path)
    headers = {"Authorization": f"Bearer {installation.key}"}
    async with installation.http.get(path, headers=headers) as answer:
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["RateLimit-Policy"] == f'"organization";q={LIMIT};w=60'
        assert answer.headers["RateLimit"].startswith('"organization";r=0;t=')


async def test_two_consoles_share_their_windows(
    installation: Installation, environment: dict[str, str]
) -> None:
    path = f"{CONNECTIONS}?organization_id=bakery"
    for _ in range(LIMIT - 1):
        await installation.request("GET", path)
    first = installation.http
    async with running.console(environment | {"CONSOLE_URL": _other(environment)}) as second:
        installation.http = second
        await installation.request("GET", path)
        await installation.request("GET", path, status=429)
    installation.http = first
    await installation.request("GET", path, status=429)


def _other(environment: dict[str, str]) -> str:
    return f"http://{environment['HOST']}:{free_port()}"


async def test_ten_at_once_are_served_and_the_eleventh_when_one_has_ended(
    installation: Installation, monkeypatch: MonkeyPatch
) -> None:
    """Requests whose bodies do not come yet, one more each time, until another is refused."""
    monkeypatch.setattr("services.console.http.endpoints.BODY_SECONDS", 60.0)
    url = URL(installation.environment["CONSOLE_URL"])
    head = (
        f"POST {CONNECTIONS}/{WABA}/disconnect HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {installation.key}\r\n\r\n"
    ).encode()

    async def answered() -> tuple[int, str | None]:
        sent = {"Authorization": f"Bearer {installation.key}"}
        async with installation.http.get(CONNECTIONS, headers=sent) as answer:
            return answer.status, answer.headers.get("Retry-After")

    async def is_served() -> bool:
        return await answered() == (200, None)

    sockets = []
    while await answered() == (200, None):
        sockets.append(await asyncio.open_connection(url.host, url.port))
        sockets[-1][1].write(head)
        assert len(sockets) <= 2 * AT_ONCE
    assert await answered() == (429, "1")
    assert len(sockets) >= AT_ONCE
    for _, writer in sockets:
        writer.write(b"{}")
    assert 422 in {int((await reader.readline()).split()[1]) for reader, _ in sockets}
    await eventually(is_served)
    for _, writer in sockets:
        writer.close()


async def test_live_checks_have_a_budget(
    installation: Installation, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("services.console.api.check_connection.FRESH_SECONDS", -1.0)
    await installation.meta.put_waba(number())
    await installation.until_active(await installation.connect())
    before = len(await installation.calls("read_waba"))
    path = f"{CHECK}?waba_id={WABA}&live=true"
    for _ in range(PER_LIVE_CHECK.amount):
        await installation.request("GET", path)
    spent = len(await installation.calls("read_waba")) - before
    refused = await installation.request("GET", path, status=429)
    assert refused["code"] == "too_many"
    assert len(await installation.calls("read_waba")) - before == spent
    await installation.request("GET", f"{CHECK}?waba_id={WABA}")


async def test_wrong_keys_leave_handles_to_a_right_one(
    installation: Installation, monkeypatch: MonkeyPatch
) -> None:
    """Each look for a key waits. Somebody with a right key, looked for already, is served."""
    use, looked, go_on = api_keys.use, asyncio.Event(), asyncio.Event()

    async def slow_use(conn: Conn, key: str) -> api_keys.ApiKey | None:
        if key != installation.key:
            looked.set()
            await go_on.wait()
        return await use(conn, key)

    monkeypatch.setattr(api_keys, "use", slow_use)
    wrong = [
        asyncio.create_task(installation.request("GET", CONNECTIONS, key="porteiro_x", status=401))
        for _ in range(30)
    ]
    await looked.wait()
    async with installation.http.get(CHECK) as answer:  # it needs a handle, and no key
        assert answer.status == 200
    go_on.set()
    await asyncio.gather(*wrong)
