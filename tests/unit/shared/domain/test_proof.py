"""What a token proves of what a browser claimed."""

import pytest

from shared.domain.proof import SCOPE, ProofRefused, TokenReport, proven_waba


def report(**of: object) -> TokenReport:
    told: dict[str, object] = {
        "is_valid": True, "app_id": "75", "scopes": frozenset({SCOPE}),
        "wabas": frozenset({"71"}), "user_id": None, "expires_at": None,
    }  # fmt: skip
    return TokenReport(**(told | of))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "claimed", "expected"),
    [
        ({}, "71", "71"),
        ({}, None, "71"),
        ({"wabas": None}, "79", "79"),  # all: still to be read with the token
        ({"wabas": frozenset({"71", "72"})}, "72", "72"),
    ],
)
def test_what_is_proven(of: dict[str, object], claimed: str | None, expected: str) -> None:
    assert proven_waba(report(**of), app_id="75", claimed=claimed) == expected


@pytest.mark.parametrize(
    ("of", "claimed", "reason"),
    [
        ({"app_id": "76"}, "71", "wrong_app"),
        ({"is_valid": False}, "71", "token_invalid"),
        ({"scopes": frozenset()}, "71", "permission_missing"),
        ({}, "79", "waba_not_granted"),
        ({"wabas": frozenset()}, None, "waba_not_granted"),
        ({"wabas": frozenset()}, "71", "waba_not_granted"),
        ({"wabas": None}, None, "session_needed"),
        ({"wabas": frozenset({"71", "72"})}, None, "session_needed"),
    ],
)
def test_what_is_not(of: dict[str, object], claimed: str | None, reason: str) -> None:
    with pytest.raises(ProofRefused) as unproven:
        proven_waba(report(**of), app_id="75", claimed=claimed)
    assert unproven.value.reason == reason


def test_of_several_the_one_that_is_not_connected_yet_is_meant() -> None:
    told = report(wabas=frozenset({"71", "72"}))
    assert proven_waba(told, app_id="75", claimed=None, connected={"71"}) == "72"
    for connected in ((), ("71", "72")):
        with pytest.raises(ProofRefused):
            proven_waba(told, app_id="75", claimed=None, connected=connected)
