"""`porteiro` manages connections, orphans and keys."""

from uuid import uuid4

from shared.process.lifecycle import EXIT_REFUSED
from shared.store import api_keys
from shared.store.pool import Conn
from tests.support.command_line import porteiro
from tests.support.onboarding_setup import CONNECTIONS, Installation
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually


async def test_a_connection_is_listed_shown_provisioned_and_disconnected(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "subscribe", "code": 131042})
    code = await installation.connect()
    await installation.until(code, state="provisioning", reason="payment_missing")
    _, log = await porteiro("connections", "list", "--organization", "bakery", COLUMNS="200")
    assert all(word in log for word in (WABA, "bakery", "provisioning", "payment_missing", "valid"))
    _, log = await porteiro("connections", "show", WABA, COLUMNS="200")
    assert "to do, by customer" in log
    assert "Add a payment method" in log
    assert "15550001111 (not registered)" in log
    assert (await porteiro("connections", "provision", WABA))[0] == 0
    await installation.until_active(code)
    reason = ("--reason", "contract ended")
    assert (await porteiro("connections", "disconnect", WABA, *reason))[0] == 0
    await installation.until_connection("disconnected")
    _, log = await porteiro("connections", "show", WABA, COLUMNS="200")
    assert "the app stays installed" in log
    _, log = await porteiro("organizations", "list", COLUMNS="200")
    assert "bakery" in log
    exit_code, log = await porteiro("connections", "provision", WABA)
    assert (exit_code, "must connect again" in log) == (EXIT_REFUSED, True)
    for arguments in (("show", "1"), ("provision", "1"), ("disconnect", "1", *reason)):
        exit_code, log = await porteiro("connections", *arguments)
        assert (exit_code, "There is no such connection." in log) == (EXIT_REFUSED, True)


async def test_a_blocked_onboarding_is_listed_and_retried(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await installation.connect()
    await installation.until(code, reason="app_token_refused")
    _, log = await porteiro("onboardings", "list", COLUMNS="200")
    assert code in log
    assert "app_token_refused" in log
    assert (await porteiro("onboardings", "retry", code))[0] == 0
    await installation.until_active(code)
    _, log = await porteiro("onboardings", "list", COLUMNS="200")
    assert code not in log
    exit_code, log = await porteiro("onboardings", "retry", code)
    assert (exit_code, "waits to be proven" in log) == (EXIT_REFUSED, True)


async def test_an_orphan_is_listed_and_claimed(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.happen("PARTNER_ADDED")

    async def is_listed() -> bool:
        return WABA in (await porteiro("orphans", "list", COLUMNS="200"))[1]

    await eventually(is_listed)
    claim = ("orphans", "claim", WABA, "bakery", "--reason", "they called", "--actor", "ana")
    code, log = await porteiro(*claim)
    assert (code, "This organization is not known" in log) == (EXIT_REFUSED, True)
    for organization in ("bakery", "pharmacy"):
        assert (await porteiro("organizations", "add", organization))[0] == 0
    code, log = await porteiro(*claim)
    assert (code, '"event":"orphan.claimed"' in log) == (0, True)
    await installation.until_connection("active")
    connection = await installation.request("GET", f"{CONNECTIONS}/{WABA}")
    assert connection["organization_id"] == "bakery"
    for waba, organization, fault in (
        (WABA, "pharmacy", "It is another organization's"),
        ("1", "bakery", "Nothing is known"),
    ):
        code, log = await porteiro("orphans", "claim", waba, organization, "--reason", "x")
        assert (code, fault in log) == (EXIT_REFUSED, True)


async def test_a_key_is_created_listed_and_revoked(environment: dict[str, str], conn: Conn) -> None:
    code, key = await porteiro("api-keys", "create", "backend", "--organization", "bakery")
    assert code == 0
    assert key.strip().startswith(api_keys.PREFIX)
    api_key = await api_keys.use(conn, key.strip())
    assert api_key is not None
    assert (api_key.name, api_key.organization_id) == ("backend", "bakery")
    assert api_key.expires_at is not None
    assert (api_key.expires_at - api_key.created_at).days == 365
    _, log = await porteiro("api-keys", "list", COLUMNS="200")
    assert str(api_key.id) in log
    assert key.strip() not in log
    revoked = await porteiro("api-keys", "revoke", str(api_key.id), "--actor", "eva")
    assert revoked[0] == 0
    assert await api_keys.use(conn, key.strip()) is None
    entries = await conn.fetch("SELECT * FROM audit_log ORDER BY at")
    assert [(entry["action"], entry["subject"], entry["reason"]) for entry in entries] == [
        ("api_key.created", str(api_key.id), "backend"),
        ("api_key.revoked", str(api_key.id), "not given"),
    ]
    assert entries[1]["actor"] == "eva"
    for wrong in (str(api_key.id), str(uuid4())):
        assert (await porteiro("api-keys", "revoke", wrong))[0] == EXIT_REFUSED
