"""Texts from outside match a narrow pattern, else None. Only test webhooks have a tracking code."""

from typing import Any

import orjson
import pytest

from shared.domain.people import PERSON
from shared.domain.splitting import NAME, split
from tests.support.payloads import payload
from tests.support.splits import contents, only_change


def test_only_a_test_webhooks_tracking_code_is_read() -> None:
    body = payload("partner_added_names_the_waba_in_waba_info") | {"trackingCode": "campaign-7"}

    [as_test] = contents(body, is_test=True)
    [as_real] = split(orjson.dumps(body))

    assert as_test["entry"]["tracking_code"] == "campaign-7"
    assert b"campaign-7" not in as_real.content


@pytest.mark.parametrize("code", [None, 7, ["campaign-7"], {}])
def test_a_tracking_code_that_is_no_text_is_not_read(code: Any) -> None:
    body = payload("ban_announced") | {"trackingCode": code}

    [content] = contents(body, is_test=True)

    assert "tracking_code" not in content["entry"]


def test_a_test_webhook_of_another_shape_has_no_tracking_code() -> None:
    [content] = contents(["trackingCode"], is_test=True)

    assert "tracking_code" not in content["entry"]


@pytest.mark.parametrize("text", ["", "a b", "ação", "a\x00", "a\n", "x" * 65, "1st", "<b>"])
def test_a_field_or_event_outside_the_pattern_is_none(text: str) -> None:
    change = only_change({"event": text}, field=text)

    assert NAME.fullmatch("PARTNER_ADDED")
    assert (change.field, change.event) == (None, None)


@pytest.mark.parametrize("text", ["", "a b", "ação", "a\x00", "5511\n", "x" * 129, "'; --"])
def test_a_person_outside_the_pattern_is_none(text: str) -> None:
    change = only_change({"messages": [{"from": text}]})

    assert PERSON.fullmatch("BR.4410029938475610")
    assert change.people == frozenset()


def test_an_escaped_nul_stays_in_the_content_and_is_in_no_text_column() -> None:
    change = only_change({"messages": [{"from": "a\x00", "type": "\x00", "id": "\x00"}]})

    assert (change.event, change.people) == (None, frozenset())
    assert b"\\u0000" in change.content
