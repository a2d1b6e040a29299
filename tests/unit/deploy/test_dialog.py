"""The simulated login dialog: what it offers, and where it sends the browser."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.environment import APP_ID
from tests.support.simulated import NUMBER, WABA, Json, SimulatedMeta, coexisting, number

URI = "https://app.example.org/callback?tenant=1"
STATE = 'a b&c="<é>'
REQUEST = {"client_id": APP_ID, "config_id": "7", "response_type": "code"}
REDIRECT = REQUEST | {"redirect_uri": URI, "state": STATE, "extras": '{"setup":{}}'}
POPUP = REQUEST | {"origin": "http://localhost:3000"}


async def get(meta: SimulatedMeta, path: str, query: dict[str, str]) -> tuple[int, str]:
    async with meta.session.get(f"{meta.url}/{path}", params=query) as reply:
        return reply.status, await reply.text()


async def choose(meta: SimulatedMeta, path: str, form: dict[str, str]) -> tuple[int, str, str]:
    url = f"{meta.url}/{path}"
    async with meta.session.post(url, data=form, allow_redirects=False) as reply:
        return reply.status, reply.headers.get("Location", ""), await reply.text()


def outcome(page: str) -> Json:
    script = re.search(r'id="outcome">(.*?)</script>', page)
    assert script
    result: Json = json.loads(script[1])
    return result


async def test_the_dialog_offers_what_fits_each_waba_and_escapes_it(meta: SimulatedMeta) -> None:
    await meta.put_waba(number(), name="<b>Bakery</b>")
    await meta.put_waba(coexisting(), waba_id="720000000000011")

    status, page = await get(meta, "v25.0/dialog/oauth", REDIRECT)

    assert status == 200
    assert "Simulated Meta: not the real thing" in page
    assert "&lt;b&gt;Bakery&lt;/b&gt;" in page
    assert "<b>" not in page
    assert 'value="a b&amp;c=&quot;&lt;é&gt;"' in page
    assert page.count('value="FINISH"') == 1
    assert page.count('value="FINISH_ONLY_WABA"') == 2
    assert page.count('value="FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"') == 1
    assert page.count('value="CANCEL"') == 1


async def test_a_choice_redirects_with_a_code_and_the_state_intact(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())

    form = REDIRECT | {"waba_id": WABA, "event": "FINISH"}
    status, location, _ = await choose(meta, "v25.0/dialog/oauth", form)

    query = parse_qs(urlsplit(location).query)
    assert (status, location.startswith(f"{URI}&code=")) == (302, True)
    assert query["state"] == [STATE]
    assert (await meta.exchange(query["code"][0], redirect_uri=URI)).status == 200
    [(_, change)] = await meta.changes(1)
    assert change["value"]["event"] == "PARTNER_ADDED"


async def test_cancelling_redirects_with_an_error_and_the_state(meta: SimulatedMeta) -> None:
    form = REDIRECT | {"event": "CANCEL"}
    status, location, _ = await choose(meta, "dialog/oauth", form)

    query = parse_qs(urlsplit(location).query)
    assert status == 302
    assert (query["error"], query["state"]) == (["access_denied"], [STATE])
    assert "code" not in query


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "1"},
        {"response_type": "token"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "/callback"},
    ],
)
async def test_a_wrong_request_shows_no_dialog(meta: SimulatedMeta, wrong: dict[str, str]) -> None:
    for method in (get, choose):
        status, *_ = await method(meta, "v25.0/dialog/oauth", REDIRECT | wrong)
        assert status == 400
    assert (await get(meta, "dialog/popup", POPUP | {"origin": "*"}))[0] == 400


async def test_the_popup_sends_the_ids_to_any_window_and_the_code_only_to_its_opener(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    assert (await get(meta, "dialog/popup", POPUP))[0] == 200

    form = POPUP | {"waba_id": WABA, "event": "FINISH"}
    status, _, page = await choose(meta, "dialog/popup", form)

    result = outcome(page)
    message = json.loads(result["message"])
    assert status == 200
    assert (message["type"], message["event"]) == ("WA_EMBEDDED_SIGNUP", "FINISH")
    assert message["data"]["phone_number_id"] == NUMBER
    assert result["origin"] == "http://localhost:3000"
    assert result["code"] not in result["message"]
    assert (await meta.exchange(result["code"])).status == 200


async def test_the_popup_can_be_cancelled(meta: SimulatedMeta) -> None:
    _, _, page = await choose(meta, "dialog/popup", POPUP | {"event": "CANCEL"})

    result = outcome(page)
    assert result["code"] is None
    assert json.loads(result["message"]) == {
        "type": "WA_EMBEDDED_SIGNUP",
        "event": "CANCEL",
        "data": {"current_step": "PHONE_NUMBER_SETUP"},
        "version": 3,
    }


async def test_an_unknown_choice_is_refused(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())

    for wrong in ({}, {"waba_id": "1", "event": "FINISH"}, {"waba_id": WABA, "event": "FLY"}):
        assert (await choose(meta, "dialog/popup", POPUP | wrong))[0] == 400
        assert (await choose(meta, "dialog/oauth", REDIRECT | wrong))[0] == 400


async def test_the_script_is_served(meta: SimulatedMeta) -> None:
    async with meta.session.get(f"{meta.url}/sdk.js") as reply:
        assert reply.content_type == "text/javascript"
        assert "window.FB = {" in await reply.text()
