"""Prove with a customer's token which WABA a session belongs to."""

import pytest

from shared.domain.proof import ProofRefused, TokenReport, proven_waba


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
    assert proven_waba(report(**changed), app_id="75", session_waba=named) == expected


@pytest.mark.parametrize(
    ("changed", "named", "reason"),
    [
        ({"app_id": "76"}, "71", "wrong_app"),
        ({"is_valid": False}, "71", "token_invalid"),
        ({}, "79", "waba_not_granted"),
        ({"wabas": frozenset()}, None, "waba_not_granted"),
        ({"wabas": frozenset()}, "71", "waba_not_granted"),
        ({"wabas": None}, None, "session_needed"),
        ({"wabas": frozenset({"71", "72"})}, None, "session_needed"),
    ],
)
def test_a_token_that_proves_no_waba_is_refused(
    changed: dict[str, object], named: str | None, reason: str
) -> None:
    with pytest.raises(ProofRefused) as refused:
        proven_waba(report(**changed), app_id="75", session_waba=named)
    assert refused.value.reason == reason


def test_of_several_wabas_the_one_not_connected_yet_is_proven() -> None:
    several = report(wabas=frozenset({"71", "72"}))
    assert proven_waba(several, app_id="75", session_waba=None, connected={"71"}) == "72"
    for connected in ((), ("71", "72")):
        with pytest.raises(ProofRefused):
            proven_waba(several, app_id="75", session_waba=None, connected=connected)
