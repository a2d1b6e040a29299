"""Tokens of the simulated Meta: what each may read, its description, and how to fetch it again."""

import pytest

from deploy.local.simulated_meta.access import proof_of
from tests.support.environment import APP_ID, APP_SECRET, SYSTEM_TOKEN
from tests.support.simulated import BUSINESS, NUMBER, WABA, Json, SimulatedMeta, number

BOTH = ["whatsapp_business_management", "whatsapp_business_messaging"]
OTHER_WABA, OTHER_NUMBER = "720000000000011", "740000000000070"


async def test_a_call_needs_a_valid_token(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())

    without_token = await meta.call("GET", WABA)
    with_guess = await meta.call("GET", WABA, "EAAguess")

    assert (without_token.status, without_token.error) == (401, (104, None))
    assert (with_guess.status, with_guess.error) == (401, (190, None))


@pytest.mark.parametrize("is_required", [True, False])
@pytest.mark.parametrize("proof", ["0" * 64, "é"])
async def test_a_wrong_proof_is_refused(meta: SimulatedMeta, proof: str, is_required: bool) -> None:
    await meta.order("PUT", "app", {"requires_proof": is_required})
    await meta.put_waba(number())
    token = await meta.token()

    answer = await meta.call("GET", WABA, token, proof=proof)

    assert answer.error == (100, None)
    assert answer.body["error"]["message"] == (
        "Invalid appsecret_proof provided in the API argument"
    )


async def test_a_proof_may_be_left_out_unless_the_app_requires_it(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    required = await meta.call("GET", WABA, token, proof="")
    await meta.order("PUT", "app", {"requires_proof": False})
    optional = await meta.call("GET", WABA, token, proof="")

    assert required.error == (100, None)
    assert optional.body["id"] == WABA


async def test_the_token_may_be_in_the_query_and_the_version_left_out(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    query = {"access_token": token, "appsecret_proof": proof_of(token, APP_SECRET)}

    for version in ("", "/v19.0", "/v25.0"):
        async with meta.session.get(f"{meta.url}{version}/{WABA}", params=query) as reply:
            assert (await reply.json())["id"] == WABA


@pytest.mark.parametrize(
    ("grants", "granular", "error"),
    [
        ("target", {"target_ids": [WABA]}, None),
        ("all", {}, None),
        ("none", {"target_ids": []}, (200, None)),
        ([OTHER_WABA], {"target_ids": [OTHER_WABA]}, (200, None)),
    ],
)
async def test_a_token_reads_only_what_it_was_granted(
    meta: SimulatedMeta, grants: object, granular: dict[str, object], error: object
) -> None:
    await meta.put_waba(number())
    token = await meta.token(grants=grants)

    data = await meta.debug(token)
    answer = await meta.call("GET", WABA, token)

    assert data["granular_scopes"] == [{"scope": scope, **granular} for scope in BOTH]
    assert (data["app_id"], data["type"], data["is_valid"]) == (APP_ID, "SYSTEM_USER", True)
    assert (data["scopes"], data["expires_at"]) == (BOTH, 0)
    assert (answer.error if error else answer.body["id"]) == (error or WABA)


async def test_a_missing_object_and_anothers_object_give_the_same_error(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    await meta.put_waba(number(OTHER_NUMBER), waba_id=OTHER_WABA, business_id="730000000000021")
    await meta.sign_up(waba_id=OTHER_WABA)
    token = await meta.token(grants="all")

    for object_id in ("1", OTHER_WABA, OTHER_NUMBER):
        answer = await meta.call("GET", object_id, token)
        assert (answer.status, answer.error) == (400, (100, 33))


async def test_reading_needs_the_management_scope(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token(scopes=BOTH[1:])

    answer = await meta.call("GET", WABA, token)

    assert (answer.status, answer.error) == (403, (200, None))
    assert (await meta.debug(token))["scopes"] == BOTH[1:]


async def test_an_expired_token_is_refused_and_described_as_invalid(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token(expires_in_seconds=60)
    assert (await meta.debug(token))["expires_at"] == int(meta.time) + 60

    meta.time += 60
    answer, data = await meta.call("GET", WABA, token), await meta.debug(token)

    assert (answer.status, answer.error) == (401, (190, 463))
    assert data["is_valid"] is False
    assert (data["error"]["code"], data["error"]["subcode"]) == (190, 463)


async def test_tokens_can_be_revoked(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    tokens = [await meta.token(), await meta.token()]

    assert await meta.order("POST", "tokens/revoke", {"waba_id": WABA}) == {"revoked": 2}

    for token in tokens:
        assert (await meta.call("GET", NUMBER, token)).error == (190, 460)
    assert (await meta.call("GET", NUMBER, await meta.token())).status == 200


async def test_a_token_is_described_only_to_the_app_token(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()

    answer = await meta.call("GET", "debug_token", token, params={"input_token": token})
    unknown = await meta.debug("EAAguess")

    assert answer.error == (100, None)
    assert unknown == {
        "error": {"code": 190, "message": "Invalid OAuth access token."},
        "is_valid": False,
        "scopes": [],
    }
    assert (await meta.debug(SYSTEM_TOKEN))["is_valid"] is True


async def test_the_business_of_a_token_can_be_read(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    fields: Json = {"params": {"fields": "client_business_id"}}

    answer = await meta.call("GET", "me", token, **fields)
    system = await meta.call("GET", "me", SYSTEM_TOKEN, **fields)

    assert answer.body["client_business_id"] == BUSINESS
    assert answer.body["id"] == (await meta.debug(token))["user_id"]
    assert system.error == (190, None)


async def test_a_lost_token_is_fetched_without_the_customer(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    assert (await meta.fetch()).error == (100, 33)

    token = await meta.token()
    assert (await meta.fetch()).body == {"access_token": token}

    await meta.order("POST", "tokens/revoke", {"waba_id": WABA})
    new = (await meta.fetch(json={"fetch_only": True}, data=None)).body["access_token"]
    assert new != token
    assert (await meta.call("GET", WABA, new)).status == 200


async def test_a_fetched_token_covers_a_waba_shared_later(meta: SimulatedMeta) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    await meta.put_waba(number(OTHER_NUMBER), waba_id=OTHER_WABA)
    assert (await meta.call("GET", OTHER_WABA, token)).error == (100, 33)
    added = {"event": "PARTNER_ADDED", "webhook": False}
    await meta.order("POST", f"wabas/{OTHER_WABA}/events", added)
    assert (await meta.call("GET", OTHER_WABA, token)).error == (200, None)

    new = (await meta.fetch()).body["access_token"]

    for waba_id in (WABA, OTHER_WABA):
        assert (await meta.call("GET", waba_id, new)).status == 200


async def test_fetching_needs_the_system_token_its_proof_and_an_installed_app(
    meta: SimulatedMeta,
) -> None:
    await meta.put_waba(number())
    token = await meta.token()
    path = f"{BUSINESS}/system_user_access_tokens"
    fetch_only = {"fetch_only": "true"}

    assert (await meta.call("POST", path, token, data=fetch_only)).error == (200, None)
    assert (await meta.call("POST", path, SYSTEM_TOKEN, data=fetch_only, proof="no")).error[
        0
    ] == 100
    assert (await meta.fetch(data={})).error == (100, None)
    await meta.happen("PARTNER_APP_UNINSTALLED", webhook=False)
    assert (await meta.fetch()).error == (200, None)
