"""What is taken from Meta's answers."""

import pytest

from shared.graph.answers import Waba, parse_waba


@pytest.mark.parametrize(
    ("name", "taken"), [("Padaria São João", "Padaria São João"), ("a\0b", None), (7, None)]
)
def test_a_name_of_a_waba_is_text_that_can_be_stored_and_shown(
    name: object, taken: str | None
) -> None:
    assert parse_waba("71", {"id": "71", "name": name}) == Waba("71", None, taken)
