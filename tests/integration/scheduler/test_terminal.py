"""On a terminal of 80 columns lists fit, ids are whole, and answers and errors are sentences."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from services.scheduler.__main__ import app
from shared.actions import letter_replays
from shared.crypto import KeyRing
from shared.process.lifecycle import EXIT_REFUSED
from shared.store import api_keys, events
from shared.store.api_keys import Right
from shared.store.audit import Requester
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.due import Lease
from shared.store.intake import changes, dead_letters, webhooks
from shared.store.intake.replays import LetterSelection
from shared.store.pool import Conn, Pool, now, transaction
from tests.support.backups import backup_settings
from tests.support.command_line import on_terminal, porteiro
from tests.support.keys import TOKEN_RING
from tests.support.ownership import prove
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

ORGANIZATION = "padaria-e-confeitaria-sao-joao-filial-vila-mariana"
WABA, ORPHAN = "102290129340398512", "102290129340398513"
BUSINESSES = ("506914307656634512", "506914307656634513", "506914307656634514")
ERROR = "unexpected_LookupErrorOfSomething: it has quite a long name"
REQUESTER = Requester("command line, maria.da.silva", "Meta sent them broken, and mended it")


@dataclass(frozen=True)
class Filled:
    """Ids of what a database with everything in it has."""

    webhook_id: UUID
    dead_change_id: UUID
    published_change_id: UUID
    first_letter_id: UUID
    letter_id: UUID
    fingerprint: str
    replay_id: UUID
    key_id: str
    onboarding_id: str


@pytest.fixture
async def filled(environment: dict[str, str], pool: Pool, conn: Conn, ring: KeyRing) -> Filled:
    at = await now(conn)
    await _connect(conn, at)
    webhook = make_webhook(at=at)
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    field = "message_template_status_update"
    made = [
        make_change(n)._replace(waba_id=WABA, field=field, event=f"{field}.REJECTED")
        for n in (1, 2)
    ]
    stored = await changes.insert(conn, ring, changes_of(webhook, *made))
    dead_id, published_id = (new.id for new in stored)
    await events.add_for_changes(conn, [published_id])
    await events.mark_published(conn, [published_id], unrouted=[published_id])
    first_id = await _die(conn, dead_id)
    async with transaction(pool) as tx:
        replay_id = await letter_replays.start(
            tx, LetterSelection([first_id], None, None), "replayed", rate=10, requester=REQUESTER
        )
    await letter_replays.run(pool, ring, replay_id, lambda _: None)
    letter_id = await _die(conn, dead_id)
    await api_keys.create(
        conn, "backend of the bakery, production", ORGANIZATION, expires_at=at + timedelta(365),
        rights=list(Right), requester=REQUESTER,
    )  # fmt: skip
    [key] = await api_keys.listed(conn)
    fingerprint = await conn.fetchval("SELECT fingerprint FROM dead_letters LIMIT 1")
    [onboarding] = await onboardings.unfinished(conn, limit=10)
    return Filled(
        webhook.id, dead_id, published_id, first_id, letter_id, fingerprint, replay_id,
        str(key.id), str(onboarding.id),
    )  # fmt: skip


async def _connect(conn: Conn, at: datetime) -> None:
    """Add an organization with a connection and an onboarding under way, and an orphan."""
    await organizations.add(conn, ORGANIZATION)
    for business in BUSINESSES:
        await organizations.add_business(conn, ORGANIZATION, business)
    for code in ("code-1", "code-2"):
        new = NewOnboarding(ORGANIZATION, code, at + timedelta(hours=1))
        await onboardings.start(conn, TOKEN_RING, new)
    async with conn.transaction():
        await prove(conn, "code-1", WABA, BUSINESSES[0], at)
    await connections.ensure(conn, [ORPHAN])
    await conn.execute(
        """
        UPDATE whatsapp_connections SET state = 'provisioning', reason = 'account_disconnected'
        WHERE waba_id = $1
        """,
        WABA,
    )
    await conn.execute(
        "UPDATE whatsapp_connections SET owner_business_id = $1 WHERE waba_id = $2",
        BUSINESSES[0],
        ORPHAN,
    )
    await conn.execute(
        "UPDATE whatsapp_onboarding SET reason = 'app_token_refused' WHERE state = 'open'"
    )


async def _die(conn: Conn, change_id: UUID) -> UUID:
    await changes.fail(conn, Lease(change_id, 4), ERROR, None)
    [letter_id] = await dead_letters.add_changes(conn, [change_id], "ours")
    return letter_id


def lists(filled: Filled) -> dict[tuple[str, ...], list[str]]:
    """Return every command that prints a list or all about one thing, with ids it must show."""
    letter = str(filled.letter_id)
    return {
        ("organizations", "list"): [ORGANIZATION, *BUSINESSES],
        ("connections", "list"): [WABA, ORGANIZATION, "account_disconnected"],
        ("connections", "show", WABA): [WABA, ORGANIZATION],
        ("connections", "show", ORPHAN): [ORPHAN],
        ("connections", "history", WABA): [ORGANIZATION],
        ("connections", "history", ORPHAN): ["none"],
        ("orphans", "list"): [ORPHAN, BUSINESSES[0], ORGANIZATION],
        ("onboardings", "list"): [filled.onboarding_id, ORGANIZATION, "app_token_refused"],
        ("api-keys", "list"): [filled.key_id, ORGANIZATION],
        ("dead-letters", "list"): [filled.fingerprint, ERROR],
        ("dead-letters", "list", "--each"): [letter, WABA, ORGANIZATION, "replayed before: 1"],
        ("dead-letters", "list", "--closed"): [str(filled.first_letter_id), letter, "replayed"],
        ("dead-letters", "replays"): [str(filled.replay_id), REQUESTER.actor],
        ("audit", "list"): ["api_key.created", REQUESTER.actor, REQUESTER.reason],
        ("connections", "failures", WABA): ["none"],
        ("onboardings", "failures", filled.onboarding_id): ["none"],
        ("dead-letters", "show", letter): [letter, str(filled.dead_change_id), filled.fingerprint],
        ("webhooks", "show", str(filled.webhook_id)): [
            str(filled.webhook_id), str(filled.dead_change_id), str(filled.published_change_id),
            letter, WABA, ORGANIZATION, "no queue was bound",
        ],
    }  # fmt: skip


async def test_every_list_fits_80_columns_and_splits_no_id(filled: Filled) -> None:
    for command, expected in lists(filled).items():
        code, shown = await on_terminal(*command)
        assert code == 0, shown
        too_wide = [line for line in shown.splitlines() if len(line) > 80]
        assert (command, too_wide) == (command, [])
        missing = [text for text in expected if text not in shown]
        assert (command, missing) == (command, []), shown


async def test_every_list_is_json_on_request(filled: Filled) -> None:
    for command in lists(filled):
        code, printed = await porteiro(*command, "--json")
        assert code == 0, printed
        assert isinstance(json.loads(printed), list | dict)


async def test_a_letter_is_found_by_the_ids_of_its_change_and_webhook(filled: Filled) -> None:
    for id_ in (filled.dead_change_id, filled.webhook_id):
        _, printed = await porteiro("dead-letters", "show", str(id_), "--json")
        letters = [(UUID(letter["id"]), letter["outcome"]) for letter in json.loads(printed)]
        assert letters == [(filled.letter_id, None), (filled.first_letter_id, "replayed")]


async def test_what_became_of_a_webhook_is_told_for_one_change_too(filled: Filled) -> None:
    _, printed = await porteiro("webhooks", "show", str(filled.dead_change_id), "--json")
    webhook = json.loads(printed)
    assert webhook["id"] == str(filled.webhook_id)
    [change] = webhook["changes"]
    assert (change["id"], change["state"]) == (str(filled.dead_change_id), "dead")
    assert change["letter_id"] == str(filled.letter_id)
    assert change["event_outcome"] == "after it is processed"
    code, shown = await on_terminal("webhooks", "show", str(uuid4()))
    assert (code, "error: no webhook or change" in shown) == (EXIT_REFUSED, True)


async def test_audit_records_are_chosen_by_subject_actor_action_and_time(filled: Filled) -> None:
    for options, is_found in (
        (("--about", ORGANIZATION, "--action", "api_key.created"), True),
        (("--about", "pharmacy"), False),
        (("--actor", REQUESTER.actor[:5], "--since", "2h"), True),
        (("--actor", "%"), False),
        (("--until", "2h"), False),
        (("--before", "00000000-0000-0000-0000-000000000000"), False),
    ):
        _, printed = await porteiro("audit", "list", "--json", *options)
        actions = [record["action"] for record in json.loads(printed)]
        assert ("api_key.created" in actions) is is_found, options
        assert is_found or actions == []


async def test_letters_are_chosen_by_waba_organization_and_time(filled: Filled) -> None:
    for options, is_found in (
        (("--waba", WABA), True),
        (("--waba", ORPHAN), False),
        (("--organization", ORGANIZATION), True),
        (("--organization", "pharmacy"), False),
        (("--since", "2h"), True),
        (("--until", "2h"), False),
        (("--since", "2026-01-01", "--waba", WABA), True),
    ):
        _, printed = await porteiro("dead-letters", "list", "--each", "--json", *options)
        assert [letter["id"] for letter in json.loads(printed)] == (
            [str(filled.letter_id)] if is_found else []
        ), options
    code, shown = await on_terminal("dead-letters", "list", "--fingerprint", "000000000000")
    assert (code, "error: no open dead letter" in shown) == (EXIT_REFUSED, True)


async def test_a_command_that_acts_answers_in_a_sentence(filled: Filled) -> None:
    for command, sentence in {
        ("organizations", "add", "pharmacy"): "The organization pharmacy is added.",
        ("connections", "provision", WABA): f"The connection {WABA} will be provisioned again",
        ("orphans", "claim", ORPHAN, ORGANIZATION, "--reason", "asked"): f"WABA {ORPHAN} belongs",
        ("connections", "disconnect", WABA, "--reason", "left"): "has no owner any more",
        ("connections", "release", ORPHAN, "--reason", "wrong"): "is released",
        ("api-keys", "revoke", filled.key_id): f"The key {filled.key_id} is revoked.",
        ("dead-letters", "replay", str(filled.letter_id), "--reason", "mended"): "is due again",
        ("events", "replay", "--since", "2h"): "1 events are published again",
    }.items():
        code, shown = await on_terminal(*command)
        assert (code, sentence in " ".join(shown.split())) == (0, True), shown
        assert [line for line in shown.splitlines() if len(line) > 80 or "{" in line] == []


async def test_what_is_wrong_is_said_in_words_on_a_terminal_and_as_json_elsewhere(
    environment: dict[str, str],
) -> None:
    command = ("connections", "show", "7200")
    code, shown = await on_terminal(*command)
    assert (code, shown) == (EXIT_REFUSED, "error: Nothing is known of WABA 7200.\n")
    code, log = await porteiro(*command)
    line = json.loads(log)
    assert (code, line["fault"]) == (EXIT_REFUSED, "Nothing is known of WABA 7200.")
    assert (line["event"], line["level"]) == ("job.refused", "error")


async def test_a_job_says_in_words_what_it_did(
    environment: dict[str, str], tmp_path: Path, conn: Conn
) -> None:
    settings = backup_settings(tmp_path, environment["DATABASE_URL"])
    await organizations.add(conn, ORGANIZATION)
    for command, sentence in {
        ("migrate",): "The schema is at 0",
        ("topology",): "queues are there.",
        ("retry-sweep",): "retry-sweep is done: there was nothing to do.",
        ("partitions",): "partitions is done: ahead 14.",
        ("partitions", "--dry-run"): "partitions would count: ahead 14.",
        ("cleanup",): "cleanup is done: there was nothing to do.",
        ("retention",): "retention is done: there was nothing to do.",
        ("token-health",): "token-health is done: there was nothing to do.",
        ("backup",): "is made.",
        ("restore-drill",): "is all there, and the keys at hand open it.",
        ("rotate-keys",): "whatsapp_connections.token: 0 rows.",
    }.items():
        code, shown = await on_terminal(*command, **settings)
        assert (code, sentence in " ".join(shown.split())) == (0, True), (command, shown)
        assert [line for line in shown.splitlines() if len(line) > 80 or "=" in line] == []


async def test_what_was_typed_wrong_is_said_with_what_to_do(environment: dict[str, str]) -> None:
    for command, fault in {
        ("nonsense",): "error: No such command 'nonsense'. See `porteiro --help`.",
        ("jobs", "--nope"): "error: No such option: --nope. See `porteiro jobs --help`.",
        ("events", "replay", "--since", "soon"): "error: Invalid value for '--since': soon is no",
    }.items():
        code, shown = await on_terminal(*command)
        assert (code, " ".join(shown.split()).startswith(fault)) == (2, True), shown
        assert max(map(len, shown.splitlines())) <= 80
    code, log = await porteiro("nonsense")
    line = json.loads(log)
    assert (code, line["event"], "No such command" in line["fault"]) == (2, "usage.wrong", True)


async def test_all_help_fits_80_columns_and_nothing_of_it_is_cut_off() -> None:
    def commands(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name, sub in getattr(command, "commands", {}).items():
            yield from commands(sub, (*path, name))

    for path in commands(get_command(app), ()):
        shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=80).output
        lines = [line for line in shown.splitlines() if not line.startswith("Usage:")]
        assert [line for line in lines if len(line) > 80 or line.endswith("...")] == [], path


@pytest.mark.parametrize(
    ("url", "fault", "exit_code"),
    [
        ("postgresql://porteiro:{wrong}@{server}/{name}", "refuses the user", EXIT_REFUSED),
        ("{base}/nothing", "has no such database", EXIT_REFUSED),
        ("{base}/{name}?sslmode=nonsense", "a value that does not exist", EXIT_REFUSED),
        ("{base}/{name}?sslmode=require", "offers no TLS", EXIT_REFUSED),
        ("postgresql://porteiro:{wrong}@127.0.0.1:9/{name}", "no server listens", 1),
    ],
)
@pytest.mark.parametrize("command", [("migrate",), ("connections", "list")])
async def test_a_database_that_cannot_be_used_is_explained(
    environment: dict[str, str], command: tuple[str, ...], url: str, fault: str, exit_code: int
) -> None:
    base, _, name = environment["DATABASE_URL"].rpartition("/")
    url = url.format(base=base, name=name, server=base.rpartition("@")[2], wrong="x")
    code, shown = await on_terminal(*command, DATABASE_URL=url)
    assert code == exit_code, shown
    assert shown.startswith("error: ")
    assert fault in " ".join(shown.split())
    assert "DATABASE_URL" in shown
    assert "Traceback" not in shown
