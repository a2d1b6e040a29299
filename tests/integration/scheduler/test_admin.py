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
    assert "15550001111 (waiting)" in log
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
    for arguments, fault in (
        (("show", "1"), "Nothing is known of WABA 1."),
        (("provision", "1"), "There is no such connection."),
        (("disconnect", "1", *reason), "There is no such connection."),
    ):
        exit_code, log = await porteiro("connections", *arguments)
        assert (exit_code, fault in log) == (EXIT_REFUSED, True)


async def test_an_organization_is_shown_as_its_customers_know_it(
    environment: dict[str, str], conn: Conn
) -> None:
    logo = "https://cdn.example.test/logo.svg"
    await porteiro("organizations", "add", "bakery")
    for arguments in (("--name", "Padaria São João"), ("--logo", logo)):
        assert (await porteiro("organizations", "show-as", "bakery", *arguments))[0] == 0
    [shown] = await conn.fetch("SELECT display_name, logo_url FROM organizations")
    assert tuple(shown) == ("Padaria São João", logo)
    _, log = await porteiro("organizations", "list", COLUMNS="200")
    assert "Padaria São João" in log
    for wrong in (
        ("bakery",),
        ("bakery", "--name", ""),
        ("bakery", "--logo", "http://cdn.example.test/logo.svg"),
        ("bakery", "--logo", "https://cdn.example.test/a; script-src *"),
        ("nobody", "--name", "Nobody"),
    ):
        assert (await porteiro("organizations", "show-as", *wrong))[0] == EXIT_REFUSED


async def test_a_blocked_onboarding_is_listed_and_retried(installation: Installation) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.order("POST", "faults", {"call": "debug_token", "code": 190})
    code = await installation.connect()
    await installation.until(code, reason="app_token_refused")
    _, log = await porteiro("onboardings", "list", COLUMNS="200")
    onboarding_id = (await installation.status(code))["onboarding_id"]
    assert onboarding_id in log
    assert code not in log
    assert "app_token_refused" in log
    assert (await porteiro("onboardings", "retry", onboarding_id))[0] == 0
    await installation.until_active(code)
    _, log = await porteiro("onboardings", "list", COLUMNS="200")
    assert onboarding_id not in log
    exit_code, log = await porteiro("onboardings", "retry", onboarding_id)
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
        ("api_key.created", f"{api_key.id} for bakery, may change, read", "backend"),
        ("api_key.revoked", str(api_key.id), "not given"),
    ]
    assert entries[1]["actor"].startswith("command line, ")
    assert entries[1]["on_behalf_of"] == "eva"
    for wrong in (str(api_key.id), str(uuid4())):
        assert (await porteiro("api-keys", "revoke", wrong))[0] == EXIT_REFUSED
