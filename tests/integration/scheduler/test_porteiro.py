"""The `porteiro` command manages organizations, onboardings and dead letters."""

from shared.crypto import KeyRing
from shared.process.lifecycle import EXIT_REFUSED
from shared.store.due import Lease
from shared.store.intake import dead_letters, webhooks
from shared.store.pool import Conn
from tests.support.command_line import porteiro
from tests.support.samples import make_webhook, make_webhook_row

WABA = "210000000000010"


async def test_an_onboarding_is_opened_and_proven_by_hand(
    environment: dict[str, str], conn: Conn
) -> None:
    assert (await porteiro("organizations", "add", "ana", "--business", "55"))[0] == 0
    code, log = await porteiro("onboardings", "start", "ana", "--code", "test-123")
    assert code == 0
    assert log.endswith("test-123\n")
    assert (await porteiro("onboardings", "prove", "test-123", WABA, "--business", "66"))[0] == 0

    owner = await conn.fetchrow("SELECT organization_id, attribution FROM whatsapp_connections")
    assert owner is not None
    assert tuple(owner) == ("ana", "tracking_code")
    businesses = await conn.fetch("SELECT business_id FROM business_owners ORDER BY 1")
    assert [record["business_id"] for record in businesses] == ["55", "66"]


async def test_wrong_arguments_are_refused_and_named(
    environment: dict[str, str], conn: Conn
) -> None:
    for arguments, fault in (
        (("organizations", "add", "an organization"), "ORGANIZATION_ID must match"),
        (("organizations", "add", "ana", "--business", "x"), "--business must be 1 to 20 digits"),
        (("onboardings", "prove", "unknown", WABA), "CODE is no onboarding"),
        (("onboardings", "prove", "test-123", "x"), "WABA_ID must be 1 to 20 digits"),
    ):
        code, log = await porteiro(*arguments)
        assert (code, fault in log) == (EXIT_REFUSED, True), log
    assert await conn.fetchval("SELECT count(*) FROM organization_businesses") == 0


async def test_a_tracking_code_is_unique(environment: dict[str, str], conn: Conn) -> None:
    start = ("onboardings", "start", "ana", "--code", "test-123")
    code, log = await porteiro(*start)
    assert (code, "ORGANIZATION_ID is not known" in log) == (EXIT_REFUSED, True)
    assert (await porteiro("organizations", "add", "ana"))[0] == 0
    assert (await porteiro(*start))[0] == 0
    code, log = await porteiro(*start)
    assert (code, "--code is taken" in log) == (EXIT_REFUSED, True)


async def test_only_a_local_stack_accepts_a_proof_by_hand(
    environment: dict[str, str], conn: Conn
) -> None:
    code, log = await porteiro("onboardings", "prove", "test-123", WABA, ENVIRONMENT="staging")
    assert (code, "only where ENVIRONMENT is local" in log) == (EXIT_REFUSED, True)


async def test_dead_letters_are_listed_shown_counted_replayed_and_discarded(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    webhook = make_webhook(b'{"broken')
    await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
    await webhooks.fail(conn, Lease(webhook.id, 1), "unparsable: not valid JSON", None)
    await dead_letters.add_webhooks(conn, [webhook.id], "meta")
    [letter] = await conn.fetch("SELECT id::text, fingerprint FROM dead_letters")

    code, shown = await porteiro("dead-letters", "list", COLUMNS="160")
    assert code == 0
    assert letter["fingerprint"] in shown
    assert "unparsable: not valid JSON" in shown
    code, shown = await porteiro(
        "dead-letters", "list", "--fingerprint", letter["fingerprint"], COLUMNS="160"
    )
    assert letter["id"] in shown
    code, shown = await porteiro("dead-letters", "show", letter["id"], COLUMNS="160")
    assert str(webhook.id) in shown
    assert "broken" not in shown
    arguments = ("show", letter["id"], "--content", "--actor", "eva")
    code, shown = await porteiro("dead-letters", *arguments, COLUMNS="160")
    assert '{"broken' in shown

    selection = ("--fingerprint", letter["fingerprint"], "--reason", "Meta fixed it")
    code, log = await porteiro("dead-letters", "replay", *selection, "--dry-run")
    assert (code, '"count":1' in log) == (0, True)
    assert await conn.fetchval("SELECT state FROM webhook_log") == "dead"
    code, log = await porteiro("dead-letters", "replay", *selection, "--actor", "ana")
    assert (code, '"event":"dead_letters.finished"' in log) == (0, True)
    assert await conn.fetchval("SELECT state FROM webhook_log") == "unsplit"
    audited = await conn.fetch("SELECT on_behalf_of, action FROM audit_log ORDER BY id")
    assert [tuple(row) for row in audited] == [
        ("eva", "dead_letters.read"), ("ana", "dead_letters.replayed"),
    ]  # fmt: skip

    code, log = await porteiro("dead-letters", "replay", "--reason", "no choice")
    assert code == 2
    assert "--fingerprint" in log
    code, log = await porteiro("dead-letters", "replay", letter["id"], "--reason", "once more")
    assert (code, "none of these is an open dead letter" in log) == (EXIT_REFUSED, True)
    code, log = await porteiro("dead-letters", "resume", str(webhook.id))
    assert (code, "there is no replay" in log) == (EXIT_REFUSED, True)
