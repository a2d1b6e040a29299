"""A list fits the terminal at every width of its values, and splits none that fits."""

import pytest
from pytest import CaptureFixture, MonkeyPatch

from services.scheduler.admin.tables import Columns, print_list

COLUMNS: Columns[tuple[str, str, str]] = {
    "a": lambda row: row[0],
    "nothing": lambda _: None,
    "b": lambda row: row[1],
    "c": lambda row: row[2],
}


@pytest.mark.parametrize("first", [1, 36, 40, 76])
@pytest.mark.parametrize("second", [1, 36, 37, 38, 39, 40, 41, 42, 43, 76])
@pytest.mark.parametrize("third", [1, 33, 34, 76])
def test_no_line_is_too_wide_and_no_value_is_split(
    first: int, second: int, third: int, monkeypatch: MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = ("x" * first, "y" * second, "z" * third)
    print_list("Rows", COLUMNS, [row], as_json=False)
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert shown.split()[-3:] == list(row)
    assert "nothing" not in shown


def test_what_controls_a_terminal_is_escaped(capsys: CaptureFixture[str]) -> None:
    print_list("Rows", COLUMNS, [("\x1b[2J", "b", "c")], as_json=False)
    assert "\x1b" not in capsys.readouterr().out
