"""Everything that changes something, by API, page or command line, is in the audit log once."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import typer
from yarl import URL

from services.console.api.connections import CONNECTION_PATH
from services.console.api.onboarding import BASE, ONBOARDING_PATH
from services.console.connect.pages import PATH as PAGE
from services.console.connect.pages import ConnectPages
from services.console.http.app import OPENAPI_PATH
from services.console.meta_dialog import RETURN_PATH
from services.scheduler.__main__ import app
from shared.crypto import KeyRing
from shared.domain.numbers import PhoneNumber
from shared.store import api_keys
from shared.store.api_keys import Right
from shared.store.connections import connections, numbers, onboardings, organizations
from shared.store.connections import login_codes as codes
from shared.store.connections.onboardings import NewOnboarding
from shared.store.due import Lease
from shared.store.intake import dead_letters, webhooks
from shared.store.pool import Conn
from tests.support.command_line import porteiro
from tests.support.keys import TOKEN_RING, make_key
from tests.support.onboarding_setup import (
    CONNECTIONS,
    ONBOARDING,
    ORPHANS,
    Installation,
    Json,
)
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.simulated import NUMBER, WABA, number

Step = Callable[[], Awaitable[object]]
OTHER, ORGANIZATION = "720000000000011", "florist"
#: They show or wake, run by the clock (`job_runs` has them), or make the database itself.
HARMLESS = {
    "migrate", "topology", "retry-sweep", "jobs", "partitions", "retention", "cleanup",
    "token-health", "serve-schedule", "backup", "restore-drill", "backups list", "backups restore",
    "dead-letters list", "dead-letters replays",
    "organizations list", "onboardings list", "connections list", "connections show",
    "connections history", "connections failures", "onboardings failures",
    "orphans list", "api-keys list", "webhooks show", "audit list",
}  # fmt: skip
REPLAY_HALF_WAY = """
INSERT INTO replays (id, fingerprint, died_until, outcome, rate, actor, reason, total)
VALUES (gen_random_uuid(), 'x', now(), 'replayed', 10, 'eva', 'fixed', 0) RETURNING id
"""


async def assert_audited_once(
    conn: Conn, step: Step, action: str, actor: str, on_behalf_of: str | None = None
) -> None:
    await conn.execute("DELETE FROM audit_log")
    await step()
    [entry] = await conn.fetch("SELECT * FROM audit_log")
    assert entry["action"] == action
    assert entry["actor"].startswith(actor)
    assert entry["on_behalf_of"] == on_behalf_of
    assert entry["subject"]
    assert entry["reason"]


async def start_choosing(installation: Installation) -> str:
    """Start an onboarding, and leave a choice of WABAs to be made. Return its code."""
    code = await installation.start_onboarding("florist")
    both = await installation.meta.sign_up("FINISH_ONLY_WABA", also=[OTHER])
    await installation.post_code(code, both["code"])
    await installation.until(code, reason="waba_choice_needed")
    return code


async def changing_routes(installation: Installation) -> set[tuple[str, str]]:
    async with installation.http.get(OPENAPI_PATH) as answer:
        paths = (await answer.json())["paths"]
    operations = {(verb.upper(), path) for path, verbs in paths.items() for verb in verbs}
    pages = {(verb, path) for verb, path, _ in ConnectPages.routes(object.__new__(ConnectPages))}
    return {route for route in operations | pages if route[0] != "GET"} | {("GET", RETURN_PATH)}


def commands(app: typer.Typer) -> Iterator[str]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[str]:
        named = getattr(command, "commands", {})
        if not named:
            yield " ".join(path)
        for name, sub in named.items():
            yield from walk(sub, (*path, name))

    return walk(typer.main.get_command(app), ())


async def test_every_route_that_changes_something_is_audited_once(
    installation: Installation, conn: Conn
) -> None:
    await installation.meta.put_waba(number(pin="271828"))
    await installation.meta.put_waba(waba_id=OTHER)
    await organizations.add(conn, "pharmacy")
    code = await installation.start_onboarding()
    other = await installation.start_onboarding(flow="redirect")
    signup = await installation.meta.sign_up(webhooks=True)
    finish = {"event": signup["message"]["event"], "data": signup["message"]["data"]}

    choosing = [await start_choosing(installation) for _ in range(2)]

    def call(method: str, path: str, body: Json | None = None, status: int = 202) -> Step:
        return lambda: installation.request(method, path, body, status=status)

    def on_page(path: str, body: Json, of: str = other) -> Step:
        async def post() -> None:
            status, answer = await installation.post_on_page(of, path.removeprefix("/"), body)
            assert status == 200, answer

        return post

    async def come_back() -> None:
        page = await installation.open_page(other)
        state = URL(page.facts["dialog_url"]).query["state"]
        back = URL(RETURN_PATH).with_query(state=state, error="access_denied")
        await installation.come_back(back, page, status=303)

    token_key = await make_key(conn, rights=[Right.TOKEN])

    async def take_token() -> None:
        path = f"{CONNECTIONS}/{WABA}/token"
        body = {"reason": "to send a message"}
        answer = await installation.request("POST", path, body, key=token_key)
        assert answer["access_token"].startswith("EAA")
        await installation.request("POST", path, body, status=403)
        theirs = await make_key(conn, "bakery", rights=[Right.TOKEN])
        await installation.request("POST", path, body, key=theirs, status=403)

    waba, onboarding = f"{CONNECTIONS}/{WABA}", f"{ONBOARDING}/{code}"
    start = {"organization_id": "bakery"}
    claim = {"organization_id": "pharmacy", "reason": "they called"}
    steps: Sequence[tuple[str, str, str, Step]] = (
        ("POST", BASE, "onboarding.start", call("POST", ONBOARDING, start, 201)),
        ("POST", f"{ONBOARDING_PATH}/session", "onboarding.session",
         call("POST", f"{onboarding}/session", finish, 200)),
        ("POST", f"{ONBOARDING_PATH}/waba", "onboarding.choose_waba",
         call("POST", f"{ONBOARDING}/{choosing[0]}/waba", {"waba_id": OTHER}, 200)),
        ("POST", f"{PAGE}/waba", "onboarding.choose_waba",
         on_page("/waba", {"waba_id": OTHER}, of=choosing[1])),
        ("POST", f"{ONBOARDING_PATH}/code", "onboarding.code",
         call("POST", f"{onboarding}/code", {"code": signup["code"]}, 200)),
        ("POST", f"{CONNECTION_PATH}/numbers/{{phone_number_id}}/pin", "connection.pin",
         call("POST", f"{waba}/numbers/{NUMBER}/pin", {"pin": "111111"})),
        ("POST", f"{PAGE}/pin", "connection.pin", on_page("/pin", {"pin": "271828"}, of=code)),
        ("POST", f"{CONNECTION_PATH}/provision", "connection.provision",
         call("POST", f"{waba}/provision")),
        ("POST", f"{CONNECTION_PATH}/numbers/{{phone_number_id}}/register", "connection.register",
         call("POST", f"{waba}/numbers/{NUMBER}/register")),
        ("POST", f"{PAGE}/session", "onboarding.session",
         on_page("/session", {"event": "ERROR", "data": {}})),
        ("POST", f"{PAGE}/code", "onboarding.code", on_page("/code", {"code": "made-up"})),
        ("GET", RETURN_PATH, "onboarding.session", come_back),
        ("DELETE", ONBOARDING_PATH, "onboarding.cancel",
         call("DELETE", f"{ONBOARDING}/{other}", status=200)),
        ("POST", f"{CONNECTION_PATH}/token", "connection.token", take_token),
        ("POST", f"{CONNECTION_PATH}/disconnect", "connection.disconnect",
         call("POST", f"{waba}/disconnect", {"reason": "they left"})),
        ("POST", f"{ORPHANS}/{{waba_id}}/claim", "orphan.claim",
         call("POST", f"{ORPHANS}/{WABA}/claim", claim)),
    )  # fmt: skip
    assert {(method, path) for method, path, *_ in steps} == await changing_routes(installation)
    waits_for_pin = partial(installation.until, code, state="provisioning")
    reached: dict[str, Step] = {
        "onboarding.code": partial(waits_for_pin, reason="pin_needed"),
        "connection.pin": partial(waits_for_pin, reason="pin_wrong"),
        "connection.provision": partial(installation.until_active, code),
    }
    for _, path, action, step in steps:
        actor = "customer of onboarding" if path.startswith("/connect") else "api key test"
        await assert_audited_once(conn, step, action, actor)
        if actor != "customer of onboarding" and action in reached:
            await reached[action]()


async def test_what_changes_nothing_is_not_audited(installation: Installation, conn: Conn) -> None:
    """A repeated message, the code of a proven login, a second cancellation."""
    await installation.meta.put_waba(number())
    proven = await installation.start_onboarding()
    signup = await installation.meta.sign_up(webhooks=True)
    await installation.post_session(proven, signup["message"])
    await installation.post_code(proven, signup["code"])
    await installation.until_active(proven)
    closed = await installation.start_onboarding("florist")
    await installation.request("DELETE", f"{ONBOARDING}/{closed}")
    given_up = await installation.start_onboarding("florist")
    message = {"event": "CANCEL", "data": {}}
    await installation.post_session(given_up, message)
    await conn.execute("DELETE FROM audit_log")
    for _ in range(3):
        await installation.post_session(given_up, message)
        await installation.post_session(proven, signup["message"])
        await installation.post_code(proven, signup["code"])
        await installation.request("DELETE", f"{ONBOARDING}/{closed}")
    assert await conn.fetchval("SELECT count(*) FROM audit_log") == 0


async def test_every_command_that_changes_something_is_audited_once(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    await connections.ensure(conn, [WABA, OTHER])
    unregistered = PhoneNumber(NUMBER, "1555", is_coexistence=False, is_registered=False)
    await numbers.save(conn, WABA, [unregistered])
    for _ in range(2):
        webhook = make_webhook(b'{"broken')
        await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
        await webhooks.fail(conn, Lease(webhook.id, 1), "unparsable: not valid JSON", None)
        await dead_letters.add_webhooks(conn, [webhook.id], "meta")
    first, second = await conn.fetch("SELECT id::text FROM dead_letters")
    await make_key(conn)
    [key] = await api_keys.listed(conn)
    await organizations.add(conn, ORGANIZATION)
    until = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding(ORGANIZATION, "stuck", until))
    stuck = await onboardings.find(conn, "stuck", organization_id=None)
    assert stuck is not None
    assert await codes.start_exchange(conn, stuck.id, b"hash")
    await codes.save_token(conn, TOKEN_RING, stuck, "token", code_hash=b"hash", expires_at=None)
    why = ("--reason", "they asked", "--on-behalf-of", "eva")
    replay_id = await conn.fetchval(REPLAY_HALF_WAY)
    steps: Sequence[tuple[str, Sequence[str], str]] = (
        ("organizations add", ("bakery", "--business", "55"), "organization.add"),
        ("organizations show-as", ("bakery", "--name", "Bakery"), "organization.show_as"),
        ("organizations remove-business", ("bakery", "55"), "organization.remove_business"),
        ("onboardings start", ("bakery", "--code", "code-1234"), "onboarding.start"),
        ("onboardings prove", ("code-1234", WABA), "onboarding.prove"),
        ("onboardings retry", (str(stuck.id),), "onboarding.retry"),
        ("connections provision", (WABA,), "connection.provision"),
        ("connections register", (WABA, NUMBER), "connection.register"),
        ("connections release", (WABA,), "connection.release"),
        ("orphans claim", (OTHER, "bakery"), "orphan.claim"),
        ("connections disconnect", (OTHER,), "connection.disconnect"),
        ("api-keys create", ("backend",), "api_key.created"),
        ("api-keys revoke", (str(key.id),), "api_key.revoked"),
        ("dead-letters show", (first["id"], "--content"), "dead_letters.read"),
        ("dead-letters replay", (first["id"],), "dead_letters.replayed"),
        ("dead-letters discard", (second["id"],), "dead_letters.discarded"),
        ("dead-letters resume", (str(replay_id),), "dead_letters.resumed"),
        ("events replay", ("--since", "2020-01-01"), "events.replay"),
        ("rotate-keys", (), "keys.rotate"),
        ("people find", ("15550004444",), "people.found"),
        ("people find-in-texts", ("15550004444", "--since", "1d"), "people.opened"),
    )
    assert {name for name, *_ in steps} | HARMLESS == set(commands(app))
    for name, arguments, action in steps:
        if name == "events replay":
            await conn.execute("UPDATE events SET published_at = now()")
        has_own_reason = name in ("api-keys create", "dead-letters show", "dead-letters resume")

        async def run(name: str, arguments: Sequence[str], has_own_reason: bool) -> None:
            code, log = await porteiro(
                *name.split(), *arguments, *(why[2:] if has_own_reason else why)
            )
            assert code == 0, log

        step = partial(run, name, arguments, has_own_reason)
        await assert_audited_once(conn, step, action, "command line, ", "eva")
