"""What the page shows of an onboarding, and what it asks for."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.console.api.onboarding import ConnectionState, OnboardingAnswer, WabaChoiceAnswer
from services.console.api.remedy_answer import remedy_answer
from services.console.connect.page_status import page_status, refused_status
from services.console.connect.who_asks import WaitingNumber
from services.console.connect.words import words_for
from shared.domain.remedies import REMEDIES, remedy

AT = datetime(2026, 1, 31, tzinfo=UTC)
WORDS = words_for("pt-BR", "Padaria")


def onboarding(reason: str | None = None, **more: Any) -> OnboardingAnswer:
    fields: dict[str, Any] = {
        "onboarding_id": UUID(int=1), "tracking_code": "o", "organization_id": "bakery",
        "flow": "popup", "state": "open", "reason": reason, "next_attempt_at": None,
        "remedy": remedy_answer(remedy(reason)), "session_event": None, "waba_id": None,
        "waba_choices": [], "connection": None, "created_at": AT, "expires_at": AT,
    }  # fmt: skip
    return OnboardingAnswer(**(fields | more))


def connected(reason: str | None, state: str = "provisioning", **more: Any) -> OnboardingAnswer:
    connection = ConnectionState(
        waba_id="71", state=state, reason=reason, remedy=remedy_answer(remedy(reason)),
        next_attempt_at=more.get("next_attempt_at"),
    )  # fmt: skip
    return onboarding(state="completed", connection=connection)


def shown(answer: OnboardingAnswer, *numbers: WaitingNumber) -> dict[str, Any]:
    return page_status(answer, "pt-BR", WORDS, numbers)


def test_a_new_link_offers_the_login_and_says_nothing() -> None:
    status = shown(onboarding())
    assert (status["step"], status["text"], status["may_start"]) == ("login", None, True)
    assert (status["is_trouble"], status["looks_again"]) == (False, False)


def test_work_in_progress_looks_again_and_offers_no_login() -> None:
    status = shown(onboarding("proving"))
    assert (status["step"], status["may_start"], status["looks_again"]) == ("prove", False, True)
    waiting = shown(connected("throttled", next_attempt_at=AT))
    assert (waiting["goes_on_at"], waiting["is_trouble"]) == (AT, False)


def test_a_connection_that_works_is_done() -> None:
    status = shown(connected(None, "active"))
    assert (status["step"], status["text"]) == ("done", "Sua conta está conectada.")
    assert not status["looks_again"]


@pytest.mark.parametrize("reason", ["pin_needed", "pin_wrong", "pin_or_lock"])
def test_a_number_that_needs_its_pin_is_named(reason: str) -> None:
    others = WaitingNumber("15550001110"), WaitingNumber("15550001112", 3)
    status = shown(connected(reason), others[0], WaitingNumber("15550001111", 2), others[1])
    assert (status["needs_pin"], status["pin_of"], status["pin_tries_left"]) == (
        True, "15550001111", 2,
    )  # fmt: skip
    assert status["text"] == f"+15550001111: {REMEDIES[reason].texts['pt-BR']}"


def test_a_pin_that_is_being_tried_is_not_asked_for_again() -> None:
    status = shown(connected("pin_wrong"), WaitingNumber("15550001111"))
    assert (status["text"], status["needs_pin"]) == (WORDS["checking_pin"], False)
    assert (status["is_trouble"], status["looks_again"]) == (False, True)


def test_only_what_a_new_login_mends_asks_for_a_new_link() -> None:
    assert shown(connected("not_on_app"))["text"].endswith(WORDS["new_link"])
    for reason in ("not_verified", "name_under_review", "pin_limited"):
        assert shown(connected(reason))["text"] == REMEDIES[reason].texts["pt-BR"]


def test_a_choice_is_no_trouble_and_offers_no_other_login() -> None:
    choices = [WabaChoiceAnswer(waba_id="71", name=None)]
    status = shown(onboarding("waba_choice_needed", waba_choices=choices))
    assert status["choices"] == [{"waba_id": "71", "name": None}]
    assert (status["is_trouble"], status["may_start"]) == (False, False)


def test_what_only_an_operator_mends_is_said_without_its_words() -> None:
    assert shown(onboarding("app_token_refused"))["text"] == WORDS["our_fault"]


def test_another_organizations_account_is_not_shown() -> None:
    assert shown(onboarding(state="completed"))["text"].startswith(WORDS["moved"])


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("too_many_tries", f"{WORDS['too_many_tries']} {WORDS['new_link']}"),
        ("onboarding_expired", REMEDIES["expired"].texts["pt-BR"]),
    ],
)
def test_a_refused_request_is_told_and_asks_for_nothing_more(code: str, text: str) -> None:
    waiting = shown(connected("pin_needed"), WaitingNumber("15550001111", 3))
    refused = refused_status(waiting, code, "pt-BR", WORDS)
    assert (refused["text"], refused["needs_pin"], refused["looks_again"]) == (text, False, False)


def test_a_request_that_came_too_late_shows_how_it_stands() -> None:
    status = shown(onboarding("proving"))
    assert refused_status(status, "code_not_wanted", "pt-BR", WORDS) == status
