"""Messages and templates of the simulated Meta: what is refused, and what is told by webhook."""

from typing import Any

import pytest

from tests.support.simulated import NUMBER, WABA, Json, SimulatedMeta, number

MESSAGES, TEMPLATES = f"{NUMBER}/messages", f"{WABA}/message_templates"
TEXT: Json = {
    "messaging_product": "whatsapp",
    "to": "+55 11 98765-4321",
    "text": {"body": "Olá"},
    "biz_opaque_callback_data": "order-7",
}
TEMPLATE: Json = {"name": "greeting", "language": "pt_BR", "category": "UTILITY", "components": []}


@pytest.fixture
async def token(meta: SimulatedMeta) -> str:
    """The token of a WABA that is subscribed to, with a number that is not registered yet."""
    await meta.put_waba(number())
    token = await meta.token()
    await meta.call("POST", f"{WABA}/subscribed_apps", token)
    return token


async def _register(meta: SimulatedMeta, token: str) -> None:
    body = {"messaging_product": "whatsapp", "pin": "123456"}
    assert (await meta.call("POST", f"{NUMBER}/register", token, json=body)).status == 200


async def test_a_message_is_told_as_statuses(meta: SimulatedMeta, token: str) -> None:
    await _register(meta, token)

    answer = await meta.call("POST", MESSAGES, token, json=TEXT)

    changes = [change for _, change in await meta.changes(2)]
    statuses = [change["value"]["statuses"][0] for change in changes]
    [message] = answer.body["messages"]
    assert answer.body["contacts"] == [{"input": TEXT["to"], "wa_id": "5511987654321"}]
    assert {change["field"] for change in changes} == {"messages"}
    assert {status["status"] for status in statuses} == {"sent", "delivered"}
    assert {status["id"] for status in statuses} == {message["id"]}
    assert {status["biz_opaque_callback_data"] for status in statuses} == {"order-7"}


async def test_a_message_needs_a_registered_number(meta: SimulatedMeta, token: str) -> None:
    answer = await meta.call("POST", MESSAGES, token, json=TEXT)

    assert answer.error == (133010, None)
    assert meta.webhooks == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": ""}, 100),
        ({"text": None}, 100),
        ({"messaging_product": None}, 100),
        ({"status": "read"}, 100),
        ({"type": "template", "template": {"name": "greeting"}}, 132001),
    ],
)
async def test_a_wrong_message_is_refused(
    meta: SimulatedMeta, token: str, changes: dict[str, Any], code: int
) -> None:
    await _register(meta, token)

    answer = await meta.call("POST", MESSAGES, token, json=TEXT | changes)

    assert answer.error == (code, None)


async def test_a_message_needs_its_permission(meta: SimulatedMeta, token: str) -> None:
    await _register(meta, token)
    managing = await meta.token(scopes=["whatsapp_business_management"])

    answer = await meta.call("POST", MESSAGES, managing, json=TEXT)

    assert (answer.status, answer.error) == (403, (10, None))


async def test_a_new_template_is_approved_and_told(meta: SimulatedMeta, token: str) -> None:
    created = await meta.call("POST", TEMPLATES, token, json=TEMPLATE)

    [(entry_id, change)] = await meta.changes(1)
    read = await meta.call("GET", created.body["id"], token, params={"fields": "status,name"})
    assert created.body["status"] == "PENDING"
    assert entry_id == WABA
    assert (change["field"], change["value"]["event"]) == (
        "message_template_status_update",
        "APPROVED",
    )
    assert read.body == {"id": created.body["id"], "status": "APPROVED", "name": "greeting"}


async def test_templates_are_found_and_deleted_by_language(meta: SimulatedMeta, token: str) -> None:
    for language in ("pt_BR", "en_US"):
        await meta.call("POST", TEMPLATES, token, json=TEMPLATE | {"language": language})

    twice = await meta.call("POST", TEMPLATES, token, json=TEMPLATE)
    listed = await meta.call(
        "GET", TEMPLATES, token, params={"language": "pt_BR", "summary": "total_count"}
    )
    one = {"name": "greeting", "hsm_id": listed.body["data"][0]["id"]}
    await meta.call("DELETE", TEMPLATES, token, params=one)
    left = await meta.call("GET", TEMPLATES, token)
    again = await meta.call("DELETE", TEMPLATES, token, params=one)

    assert twice.error == (100, 2388024)
    assert listed.body["summary"]["total_count"] == 1
    assert [template["language"] for template in left.body["data"]] == ["en_US"]
    assert again.error == (100, 2593002)
