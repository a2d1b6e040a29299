"""Prove with a customer's token which WABA a session belongs to."""

import pytest

from shared.domain.proof import ProofRefused, TokenReport, proven_wabas


def report(**changed: object) -> TokenReport:
    fields: dict[str, object] = {
        "is_valid": True, "app_id": "75",
        "wabas": frozenset({"71"}), "user_id": None, "expires_at": None,
    }  # fmt: skip
    return TokenReport(**(fields | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "named", "expected"),
    [
        ({}, "71", "71"),
        ({}, None, "71"),
        ({"wabas": None}, "79", "79"),  # the token is for every WABA: it must still be read with it
        ({"wabas": frozenset({"71", "72"})}, "72", "72"),
    ],
)
def test_a_token_proves_its_waba(
    changed: dict[str, object], named: str | None, expected: str
) -> None:
    assert proven_wabas(report(**changed), app_id="75", session_waba=named) == [expected]


@pytest.mark.parametrize(
    ("changed", "named", "reason"),
    [
        ({"app_id": "76"}, "71", "wrong_app"),
        ({"is_valid": False}, "71", "token_invalid"),
        ({}, "79", "waba_not_granted"),
        ({"wabas": frozenset()}, None, "waba_not_granted"),
        ({"wabas": frozenset()}, "71", "waba_not_granted"),
        ({"wabas": None}, None, "session_needed"),
    ],
)
def test_a_token_that_proves_no_waba_is_refused(
    changed: dict[str, object], named: str | None, reason: str
) -> None:
    with pytest.raises(ProofRefused) as refused:
        proven_wabas(report(**changed), app_id="75", session_waba=named)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("granted", "named", "connected", "expected"),
    [
        ({"71", "72"}, (), (), ["71", "72"]),
        ({"71", "72"}, (), ("71",), ["72"]),  # the one that is not connected yet
        ({"71", "72"}, (), ("71", "72"), ["71", "72"]),
        ({"71", "72", "73"}, (), ("71",), ["71", "72", "73"]),
        ({"71", "72", "73"}, ("71", "72"), (), ["71", "72"]),
        ({"71", "72"}, ("71", "79"), (), ["71"]),
        ({"71", "72"}, ("78", "79"), (), ["71", "72"]),  # of another login
        (None, ("71", "72"), (), ["71", "72"]),  # Meta does not tell: the readings will
        (None, ("71", "72"), ("72",), ["71"]),
    ],
)
def test_of_several_wabas_the_customer_chooses(
    granted: set[str] | None,
    named: tuple[str, ...],
    connected: tuple[str, ...],
    expected: list[str],
) -> None:
    several = report(wabas=None if granted is None else frozenset(granted))
    assert expected == proven_wabas(
        several, app_id="75", session_waba=None, session_wabas=named, connected=connected
    )
