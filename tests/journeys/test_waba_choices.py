"""A customer who shares several WABAs in one login chooses which one is connected."""

from typing import Any

import pytest

from shared.store.pool import Conn
from tests.support.onboarding_setup import ONBOARDING, POLL_SECONDS, Installation, Json
from tests.support.simulated import BUSINESS, COEXISTING, WABA, number
from tests.support.waiting import eventually

SECOND, THIRD = "720000000000011", "720000000000012"
BOTH = [{"waba_id": WABA, "name": "Bakery"}, {"waba_id": SECOND, "name": "Café"}]


async def put_wabas(installation: Installation) -> None:
    await installation.meta.put_waba(number(), name="Bakery")
    its_number = number(COEXISTING, display_phone_number="15550001112")
    await installation.meta.put_waba(its_number, waba_id=SECOND, name="Café")


async def sign_up(installation: Installation, **more: Any) -> Json:
    options = {"also": [SECOND], "webhooks": True, **more}
    return await installation.meta.sign_up("FINISH_ONLY_WABA", **options)


async def choose(installation: Installation, code: str, waba_id: str, status: int = 200) -> Json:
    path = f"{ONBOARDING}/{code}/waba"
    return await installation.request("POST", path, {"waba_id": waba_id}, status=status)


async def until_choice(installation: Installation, code: str) -> Json:
    """Wait until the customer is asked. A message of the browser may have the proof tried again."""

    async def is_asked() -> Json | None:
        now = await installation.status(code)
        asked = (now["state"], now["reason"], (now["remedy"] or {}).get("who"))
        return now if asked == ("open", "waba_choice_needed", "customer") else None

    return await eventually(is_asked, pause_seconds=POLL_SECONDS)


@pytest.mark.parametrize("tells_scopes", [True, False])
@pytest.mark.parametrize("message_first", [True, False])
async def test_of_two_wabas_in_a_popup_one_is_chosen(
    installation: Installation, message_first: bool, tells_scopes: bool
) -> None:
    await put_wabas(installation)
    code = await installation.start_onboarding()
    signup = await sign_up(installation, tells_scopes=tells_scopes)
    assert signup["message"]["data"] == {"waba_ids": [WABA, SECOND], "business_id": BUSINESS}
    if message_first:
        await installation.post_session(code, signup["message"])
    await installation.post_code(code, signup["code"])
    if not message_first:
        await installation.post_session(code, signup["message"])
    assert (await until_choice(installation, code))["waba_choices"] == BOTH
    await choose(installation, code, SECOND)
    now = await installation.until_active(code)
    assert (now["waba_id"], now["waba_choices"]) == (SECOND, [])
    await choose(installation, code, SECOND)  # a repeated request changes nothing
    assert (await choose(installation, code, WABA, 409))["code"] == "no_such_choice"


async def test_of_two_wabas_in_a_redirect_one_is_chosen_and_the_other_with_the_next_login(
    installation: Installation,
) -> None:
    await put_wabas(installation)
    for expected in (WABA, SECOND):
        code = await installation.start_onboarding(flow="redirect")
        page = await installation.open_page(code)
        back = await page.finish_dialog(WABA, "FINISH_ONLY_WABA", also=SECOND)
        await installation.come_back(back, page, status=303)
        if expected == WABA:
            assert (await until_choice(installation, code))["waba_choices"] == BOTH
            await choose(installation, code, WABA)
        assert (await installation.until_active(code))["waba_id"] == expected


async def test_the_names_of_wabas_are_stored_sealed(installation: Installation, conn: Conn) -> None:
    await put_wabas(installation)
    code = await installation.start_onboarding()
    await installation.post_code(code, (await sign_up(installation))["code"])
    assert (await until_choice(installation, code))["waba_choices"] == BOTH
    [row] = await conn.fetch("SELECT * FROM whatsapp_onboarding")
    stored = repr(dict(row))
    assert "Bakery" not in stored
    assert WABA not in stored


async def test_only_what_the_token_reaches_is_offered(installation: Installation) -> None:
    """A third one is in the token, but Meta does not let us read it."""
    await put_wabas(installation)
    code = await installation.start_onboarding()
    signup = await sign_up(installation, grants=[WABA, SECOND, THIRD])
    await installation.post_code(code, signup["code"])
    assert (await until_choice(installation, code))["waba_choices"] == BOTH
    for waba_id in (THIRD, "1"):
        assert (await choose(installation, code, waba_id, 409))["code"] == "no_such_choice"


async def test_a_refused_choice_leaves_the_next_login_free(installation: Installation) -> None:
    await put_wabas(installation)
    await installation.until_active(await installation.connect("pharmacy"))
    code = await installation.start_onboarding()
    await installation.post_code(code, (await sign_up(installation))["code"])
    await until_choice(installation, code)
    await choose(installation, code, WABA)
    await installation.until(code, reason="owned_by_another")
    again = await installation.meta.sign_up("FINISH_ONLY_WABA", waba_id=SECOND, webhooks=True)
    await installation.post_code(code, again["code"])
    assert (await installation.until_active(code))["waba_id"] == SECOND


async def test_a_message_that_names_one_makes_the_choice(installation: Installation) -> None:
    await put_wabas(installation)
    code = await installation.start_onboarding()
    await installation.post_code(code, (await sign_up(installation))["code"])
    await until_choice(installation, code)
    message = {"event": "FINISH_ONLY_WABA", "data": {"waba_id": SECOND}}
    await installation.post_session(code, message)
    assert (await installation.until_active(code))["waba_id"] == SECOND


async def test_an_expired_link_chooses_nothing(installation: Installation, conn: Conn) -> None:
    await put_wabas(installation)
    code = await installation.start_onboarding()
    await installation.post_code(code, (await sign_up(installation))["code"])
    await until_choice(installation, code)
    await conn.execute("UPDATE whatsapp_onboarding SET expires_at = now()")
    assert (await choose(installation, code, WABA, 409))["code"] == "onboarding_expired"
