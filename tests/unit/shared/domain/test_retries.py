"""What becomes of a try that failed, and in what words."""

from typing import Any

import asyncpg
import pytest

from shared.crypto import Undecryptable
from shared.domain.account_changes import UnreadableChange
from shared.domain.retries import GiveUp, Retry, decide, describe
from shared.domain.splitting import Unparsable

DELAYS = (30, 300, 1800)


def test_a_fault_is_tried_again_with_rising_delays_and_then_dies() -> None:
    fault = KeyError("a customer's secret")
    verdicts = [decide(fault, attempt, DELAYS) for attempt in (1, 2, 3, 4)]
    assert verdicts == [Retry(30), Retry(300), Retry(1800), GiveUp("ours")]


@pytest.mark.parametrize("error", [Unparsable("not valid JSON"), UnreadableChange("names no WABA")])
def test_what_will_never_be_readable_dies_at_once(error: Exception) -> None:
    assert decide(error, 1, DELAYS) == GiveUp("meta")


def test_our_own_words_are_kept_and_nobody_elses() -> None:
    assert describe(UnreadableChange("names no WABA")) == "unreadable_change: names no WABA"
    assert describe(KeyError("a customer's secret")) == "unexpected_KeyError"


def test_a_servers_error_is_named_by_its_sqlstate() -> None:
    assert describe(asyncpg.CheckViolationError("quotes a row")) == "database_23514"


def test_an_error_of_ours_is_named_by_its_code_and_nothing_it_says() -> None:
    assert describe(Undecryptable("of row 17")) == "undecryptable"


@pytest.mark.parametrize("module", ["services.processor.before", "shared.elsewhere.after"])
def test_the_same_cause_has_the_same_name_after_its_module_is_renamed(module: str) -> None:
    names: dict[str, Any] = {"__name__": module}
    exec("def apply(change):\n    return change['value']", names)  # noqa: S102
    with pytest.raises(KeyError) as raised:
        names["apply"]({})
    assert describe(raised.value) == "unexpected_KeyError"
