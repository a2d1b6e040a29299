"""What the page shows of an onboarding: a pure function of how it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.console.api.onboarding import OnboardingAnswer
from services.console.api.remedy_answer import RemedyAnswer
from services.console.connect.who_asks import WaitingNumber
from shared.domain.numbers import PIN_FAILURES
from shared.domain.remedies import REMEDIES, Language

#: Reasons of a connection that the customer mends without connecting again.
MENDED_ELSEWHERE = ("pin_limited", "not_verified", "name_under_review", "payment_missing")


def page_status(
    answer: OnboardingAnswer,
    language: Language,
    words: Mapping[str, str],
    numbers: Sequence[WaitingNumber],
) -> dict[str, Any]:
    """Return the step, the text for the customer, what to ask for, and whether to look again.

    `numbers` are the connection's numbers that wait for something. A PIN is asked for one number at
    a time: each has its own.
    """
    connection = answer.connection
    reason = connection.reason if connection else answer.reason
    remedy = connection.remedy if connection else answer.remedy
    is_about_pin = reason in PIN_FAILURES
    waiting = [number for number in numbers if number.pin_tries_left is not None]
    asked = waiting[0] if is_about_pin and waiting else None
    is_checking_pin = is_about_pin and asked is None
    is_in_progress = is_checking_pin or (remedy is not None and remedy.who == "nobody")
    is_done = connection is not None and connection.state == "active"
    step = "login"
    if connection:
        step = "done" if is_done else "setup"
    elif is_in_progress:
        step = "prove"
    text = words["done"] if is_done else _text(answer, remedy, language, words)
    if is_checking_pin:
        text = words["checking_pin"]
    if text and connection and not is_in_progress and numbers:
        named = [asked] if asked else numbers
        text = f"{', '.join(f'+{number.digits}' for number in named)}: {text}"
    next_attempt_at = connection.next_attempt_at if connection else answer.next_attempt_at
    return {
        "step": step,
        "text": text,
        "is_trouble": bool(text) and not (is_done or is_in_progress or answer.waba_choices),
        "may_start": answer.state == "open" and not is_in_progress and not answer.waba_choices,
        "looks_again": not is_done and (connection is not None or is_in_progress),
        "needs_pin": asked is not None,
        "pin_of": asked and asked.digits,
        "pin_tries_left": asked and asked.pin_tries_left,
        "choices": [choice.model_dump() for choice in answer.waba_choices],
        "goes_on_at": next_attempt_at if is_in_progress else None,
    }


def refused_status(
    status: dict[str, Any], code: str, language: Language, words: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the page shows after a request of the customer's was refused with this code."""
    if code == "too_many_tries":
        text = f"{words['too_many_tries']} {words['new_link']}"
    elif code == "onboarding_expired":
        text = REMEDIES["expired"].texts[language]
    else:  # it came too late: how it stands now says more
        return status
    nothing = {"may_start": False, "needs_pin": False, "looks_again": False, "choices": []}
    return status | nothing | {"text": text, "is_trouble": True}


def _text(
    answer: OnboardingAnswer,
    remedy: RemedyAnswer | None,
    language: Language,
    words: Mapping[str, str],
) -> str | None:
    connection = answer.connection
    if remedy is None:
        if answer.state == "completed" and connection is None:  # another organization's now
            return f"{words['moved']} {words['new_link']}"
        return None
    if remedy.who == "operator":
        return words["our_fault"]
    text = remedy.texts[language]
    is_customers = remedy.who == "customer"
    if connection and is_customers and connection.reason not in (*PIN_FAILURES, *MENDED_ELSEWHERE):
        return f"{text} {words['new_link']}"
    return text
