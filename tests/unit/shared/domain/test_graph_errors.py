"""Give each of Meta's error codes the policy that Meta's tables ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.graph_errors import (
    LIMIT_SECONDS,
    REGISTER_LIMIT_SECONDS,
    CustomerMustAct,
    GraphError,
    MetaRefused,
    MetaThrottled,
    MetaUnavailable,
    graph_error,
)
from shared.domain.remedies import remedy


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ((1, 2, 131000, 131016, 131057, None, 999_999), MetaUnavailable),
        ((4, 17, 32, 613, 80007, 80008, 130429, 131048, 131056, 133016), MetaThrottled),
        ((190, 368, 131031, 130497, 131042, 131045, 133005, 2593108), CustomerMustAct),
        ((0, 3, 10, 200, 299, 131005, 100, 33, 803, 2593107, 2593109, 133010), MetaRefused),
    ],
)
def test_a_code_has_its_policy(codes: tuple[int | None, ...], kind: type[GraphError]) -> None:
    for code in codes:
        assert type(graph_error(code)) is kind, code


@pytest.mark.parametrize(
    ("code", "subcode", "reason", "is_dead"),
    [
        (190, 458, "reconnect", True),
        (190, 459, "checkpoint", False),
        (190, 464, "checkpoint", False),
        (190, 463, "reconnect", True),
        (190, None, "reconnect", True),
        (100, 33, "not_found", False),
        (100, 36007, "bad_request", False),
    ],
)
def test_a_subcode_gives_a_more_exact_reason(
    code: int,
    subcode: int | None,
    reason: str,
    is_dead: bool,
) -> None:
    error = graph_error(code, subcode)
    assert (error.reason, error.is_token_dead) == (reason, is_dead)


def test_how_long_a_limit_lasts() -> None:
    errors = (graph_error(80008, wait_seconds=300), graph_error(4), graph_error(133016),
              graph_error(133008, wait_seconds=300))  # fmt: skip
    assert [error.seconds for error in errors if isinstance(error, MetaThrottled)] == [
        300, LIMIT_SECONDS, REGISTER_LIMIT_SECONDS, LIMIT_SECONDS,
    ]  # fmt: skip
    assert type(graph_error(None, status=429)) is MetaThrottled


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4, "throttled"),
        (133016, "throttled"),
        (133008, "throttled"),
        (2, "meta_unavailable"),
        (300, "meta_unavailable"),
        (199, "meta_unavailable"),
        (200, "permission_missing"),
        (299, "permission_missing"),
        (368, "policy_block"),
        (803, "not_found"),
    ],
)
def test_an_error_keeps_its_reason_and_metas_numbers(code: int, reason: str) -> None:
    error = graph_error(code, 4711)
    assert (error.reason, error.code, error.subcode) == (reason, code, 4711)
    assert str(error) == f"{reason} ({code}/4711)"


@pytest.mark.parametrize(("code", "subcode"), [(190, 459), (100, 33)])
def test_a_more_exact_reason_keeps_metas_numbers(code: int, subcode: int) -> None:
    error = graph_error(code, subcode)
    assert (error.code, error.subcode) == (code, subcode)


def test_an_error_that_meta_calls_transient_is_retried() -> None:
    assert type(graph_error(100, is_transient=True)) is MetaUnavailable


@given(st.none() | st.integers(), st.none() | st.integers(), st.integers(100, 599))
def test_every_code_has_a_policy_and_a_remedy(
    code: int | None, subcode: int | None, status: int
) -> None:
    error = graph_error(code, subcode, status=status)
    assert error.policy in ("retry", "wait", "customer", "never")
    advice = remedy(error.reason)
    assert advice is not None
    assert advice.text
