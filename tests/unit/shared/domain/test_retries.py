"""Decide what follows a failed attempt, and describe its error."""

from typing import Any

import asyncpg
import pytest

from shared.crypto import Undecryptable
from shared.domain.account_changes import UnreadableChange
from shared.domain.exact_json import Unparsable
from shared.domain.retries import GiveUp, Retry, decide, describe
from shared.errors import StartupRefused

DELAYS = (30, 300, 1800)


def test_a_fault_is_retried_with_rising_delays_and_then_given_up() -> None:
    fault = KeyError("a customer's secret")
    verdicts = [decide(fault, attempt, DELAYS) for attempt in (1, 2, 3, 4)]
    assert verdicts == [Retry(30), Retry(300), Retry(1800), GiveUp("ours")]


@pytest.mark.parametrize("error", [Unparsable("not valid JSON"), UnreadableChange("names no WABA")])
def test_an_unreadable_row_is_given_up_at_once(error: Exception) -> None:
    assert decide(error, 1, DELAYS) == GiveUp("meta")


def test_only_the_text_of_our_own_permanent_errors_is_kept() -> None:
    assert describe(UnreadableChange("names no WABA")) == "unreadable_change: names no WABA"
    assert describe(KeyError("a customer's secret")) == "unexpected_KeyError"


def test_a_database_error_is_named_by_its_sqlstate() -> None:
    assert describe(asyncpg.CheckViolationError("quotes a row")) == "database_23514"


def test_our_own_error_is_named_by_its_code_without_its_text() -> None:
    assert describe(Undecryptable("of row 17")) == "undecryptable"


def test_only_our_own_errors_are_named_by_their_code() -> None:
    class Coded(Exception):
        code = "quotes a row"

    Coded.__module__ = "a_library.errors"
    assert describe(Coded()) == "unexpected_Coded"
    Coded.__module__ = "services.processor.intake"
    assert describe(Coded()) == "quotes a row"


def test_an_error_of_ours_without_a_code_is_named_by_its_type() -> None:
    assert describe(StartupRefused(["no schema"])) == "unexpected_StartupRefused"


@pytest.mark.parametrize("module", ["services.processor.before", "shared.elsewhere.after"])
def test_the_same_cause_has_the_same_name_after_its_module_is_renamed(module: str) -> None:
    names: dict[str, Any] = {"__name__": module}
    exec("def apply(change):\n    return change['value']", names)
    with pytest.raises(KeyError) as raised:
        names["apply"]({})
    assert describe(raised.value) == "unexpected_KeyError"
