"""What becomes of a try that failed, and in what words."""

import pytest

from shared.domain.account import Untellable
from shared.domain.retrying import Die, Retry, decide, describe
from shared.domain.splitting import Unparsable

DELAYS = (30, 300, 1800)


def test_a_fault_is_tried_again_with_rising_delays_and_then_dies() -> None:
    fault = KeyError("a customer's secret")
    verdicts = [decide(fault, attempt, DELAYS) for attempt in (1, 2, 3, 4)]
    assert verdicts == [Retry(30), Retry(300), Retry(1800), Die("ours")]


@pytest.mark.parametrize("error", [Unparsable("not valid JSON"), Untellable("names no WABA")])
def test_what_will_never_be_readable_dies_at_once(error: Exception) -> None:
    assert decide(error, 1, DELAYS) == Die("meta")


def test_our_own_words_are_kept_and_nobody_elses() -> None:
    assert describe(Untellable("names no WABA")) == "untellable: names no WABA"
    assert describe(KeyError("a customer's secret")) == "failed: KeyError"


def test_where_our_code_failed_is_told() -> None:
    with pytest.raises(TypeError) as raised:
        decide(KeyError(), 1, None)  # type: ignore[arg-type]
    assert describe(raised.value) == "failed: TypeError in shared.domain.retrying.decide"
