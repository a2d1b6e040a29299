"""Decide whether a text contains a secret."""

from deploy.local.demo.canary import is_in


def test_a_token_is_found_as_text_and_in_hex() -> None:
    assert is_in("EAAtoken", 'x="EAAtoken"')
    assert is_in("EAAtoken", b"EAAtoken".hex())
    assert not is_in("EAAtoken", "EAA token")


def test_a_pin_is_found_alone_and_not_inside_other_numbers() -> None:
    assert is_in("918273", 'pin":"918273"')
    assert not is_in("918273", "19182734 2026-11-25T10:00:00.918273Z 0.918273 ab918273")
