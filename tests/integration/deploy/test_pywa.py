"""A client that knows only the real Meta runs unmodified against the simulated one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pywa.client import WhatsApp
from pywa.errors import WhatsAppError
from pywa.handlers import (
    AccountUpdateHandler,
    MessageStatusHandler,
    RawUpdateHandler,
    TemplateStatusUpdateHandler,
)
from pywa.types.account_update import AccountUpdate
from pywa.types.base_update import RawUpdate
from pywa.types.message_status import MessageStatus
from pywa.types.templates import (
    BodyText,
    Template,
    TemplateCategory,
    TemplateLanguage,
    TemplateStatus,
    TemplateStatusUpdate,
)

from tests.support.environment import APP_ID, APP_SECRET, SYSTEM_TOKEN
from tests.support.pywa_client import VERIFY_TOKEN, client, listening_client
from tests.support.simulated import (
    APP_TOKEN,
    BUSINESS,
    NUMBER,
    PHONE,
    WABA,
    SimulatedMeta,
    number,
    simulated_meta,
)
from tests.support.waiting import eventually

PARTNER = "710000000000001"
ANA = "5511987654321"
OVERRIDE = "https://elsewhere.example.org/hook"
GREETING = Template(
    name="greeting",
    language=TemplateLanguage.ENGLISH_US,
    category=TemplateCategory.UTILITY,
    components=[BodyText("Good morning")],
)


@pytest.fixture
async def meta() -> AsyncIterator[SimulatedMeta]:
    """A simulated Meta as it is out of the box: an appsecret_proof is checked, but not required."""
    async with simulated_meta() as meta:
        await meta.order("PUT", "app", {"requires_proof": False})
        await meta.put_waba(number(), name="Bakery")
        yield meta


async def test_the_calls_of_a_tech_provider_succeed(meta: SimulatedMeta) -> None:
    code = (await meta.sign_up())["code"]

    await asyncio.to_thread(_onboard_and_send, meta.url, code)

    calls = await meta.calls()
    assert [entry["call"] for entry in calls if entry["status"] != 200] == ["read_waba"]
    assert len({entry["call"] for entry in calls}) >= 20


def _onboard_and_send(url: str, code: str) -> None:
    """Make the calls a Tech Provider makes for one customer, from its code to its messages."""
    with client(url, SYSTEM_TOKEN) as ours:
        token = _exchange(ours, code)
        with client(url, token) as theirs:
            me = theirs.api.send_raw_request("GET", "/me", params={"fields": "client_business_id"})
            assert me["client_business_id"] == BUSINESS
            assert [
                waba.id for waba in ours.get_shared_business_accounts(business_portfolio_id=PARTNER)
            ] == [WABA]
            assert [
                waba.id
                for waba in theirs.get_owned_business_accounts(business_portfolio_id=BUSINESS)
            ] == [WABA]
            _provision(theirs)
            _redirect_webhooks(theirs)
            _greet(theirs)
            with pytest.raises(WhatsAppError, match="nonexisting field"):
                theirs.api.get_waba_info(WABA, fields=("colour",))
            assert theirs.api.send_raw_request("DELETE", f"/{WABA}/subscribed_apps")["success"]
            assert theirs.deregister_phone_number(phone_id=NUMBER)


def _exchange(ours: WhatsApp, code: str) -> str:
    assert ours.get_app_access_token(int(APP_ID), APP_SECRET) == APP_TOKEN
    token: str = ours.api.get_business_access_token(int(APP_ID), APP_SECRET, code)["access_token"]
    params = {"input_token": token, "access_token": APP_TOKEN}
    assert ours.api.send_raw_request("GET", "/debug_token", params=params)["data"]["is_valid"]
    return token


def _provision(theirs: WhatsApp) -> None:
    theirs.api.send_raw_request("POST", f"/{WABA}/subscribed_apps")
    waba = theirs.get_business_account(waba_id=WABA)
    assert waba.owner_business_info is not None
    assert (waba.name, waba.owner_business_info.id) == ("Bakery", BUSINESS)
    assert [app.id for app in waba.subscribed_apps or ()] == [APP_ID]
    assert [found.id for found in theirs.get_business_phone_numbers(waba_id=WABA)] == [NUMBER]
    assert theirs.register_phone_number(pin="123456", phone_id=NUMBER)
    assert theirs.get_business_phone_number(phone_id=NUMBER).status == "CONNECTED"
    assert theirs.update_business_profile(phone_id=NUMBER, about="Bread")
    assert theirs.get_business_profile(phone_id=NUMBER).about == "Bread"


def _redirect_webhooks(theirs: WhatsApp) -> None:
    assert theirs.override_waba_callback_url(
        callback_url=OVERRIDE, verify_token=VERIFY_TOKEN, waba_id=WABA
    )
    [subscription] = theirs.api.get_waba_subscribed_apps(WABA)["data"]
    assert subscription["override_callback_uri"] == OVERRIDE
    assert theirs.delete_waba_callback_url(waba_id=WABA)
    assert theirs.override_phone_callback_url(
        callback_url=OVERRIDE, verify_token=VERIFY_TOKEN, phone_id=NUMBER
    )
    assert theirs.delete_phone_callback_url(phone_id=NUMBER)


def _greet(theirs: WhatsApp) -> None:
    created = theirs.create_template(GREETING, waba_id=WABA)
    found = theirs.get_templates(waba_id=WABA, statuses=[TemplateStatus.APPROVED])
    assert [template.id for template in found] == [created.id]
    assert found.total_count == 1
    theirs.update_template(created.id, new_components=[BodyText("Good evening")])
    [body] = theirs.get_template(created.id).components
    assert isinstance(body, BodyText)
    assert body.text == "Good evening"
    greeting = theirs.send_template(
        ANA, name="greeting", language=TemplateLanguage.ENGLISH_US, params=[], sender=NUMBER
    )
    assert greeting.id.startswith("wamid.")
    assert theirs.send_message(ANA, "It is ready", sender=NUMBER).id.startswith("wamid.")
    assert theirs.mark_message_as_read("wamid.ANY", sender=NUMBER)
    assert theirs.indicate_typing("wamid.ANY", sender=NUMBER)
    assert theirs.delete_template("greeting", waba_id=WABA)


async def test_its_own_webhook_handler_takes_what_is_sent(meta: SimulatedMeta) -> None:
    token = await meta.token()
    received: list[Any] = []
    async with listening_client(meta.url, token) as wa:
        wa.add_handlers(
            *(
                handler(lambda _, update: received.append(update))
                for handler in (
                    MessageStatusHandler,
                    TemplateStatusUpdateHandler,
                    AccountUpdateHandler,
                    RawUpdateHandler,
                )
            )
        )

        async def is_registered() -> bool:
            return any(entry["call"] == "subscribe_app" for entry in await meta.calls())

        await eventually(is_registered)
        await asyncio.to_thread(_speak, wa)
        await meta.happen("PARTNER_APP_INSTALLED")

        async def is_told() -> bool:
            kinds = [type(update) for update in received]
            return kinds.count(RawUpdate) == 4 and kinds.count(MessageStatus) == 2

        await eventually(is_told)

    told = {type(update): update for update in received}
    assert told[TemplateStatusUpdate].template_name == "greeting"
    assert told[AccountUpdate].raw["entry"][0]["id"] == PARTNER
    statuses = [update for update in received if isinstance(update, MessageStatus)]
    assert {update.status.value for update in statuses} == {"sent", "delivered"}
    assert {update.from_user.wa_id for update in statuses} == {ANA}
    assert {update.metadata.display_phone_number for update in statuses} == {PHONE}
    assert meta.webhooks == []


def _speak(wa: WhatsApp) -> None:
    wa.api.send_raw_request("POST", f"/{WABA}/subscribed_apps")
    wa.register_phone_number(pin="123456", phone_id=NUMBER)
    wa.create_template(GREETING, waba_id=WABA)
    wa.send_message(ANA, "Your bread is ready", sender=NUMBER)
