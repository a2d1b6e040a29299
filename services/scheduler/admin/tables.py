"""Lists and single things, as text that fits the terminal or as JSON."""

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, TypeVar

import orjson
import typer
from rich.cells import cell_len

from services.scheduler.answers import width

#: Rows a page.
MAX_SHOWN = 50
GAP = 2
#: Before what does not fit on the first line of a row.
INDENT = 4

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Row = TypeVar("Row")
#: The value of each column for a row, by the column's name; the most important first.
Columns = Mapping[str, Callable[[Row], object]]


def print_list(title: str, columns: Columns[Row], rows: Sequence[Row], *, as_json: bool) -> None:
    """Print the rows. Columns that do not fit on a line stand on the next one, indented.

    A column without any value is left out. Only a value wider than the terminal is split.
    """
    if as_json:
        print_json([{_key(name): of(row) for name, of in columns.items()} for row in rows])
        return
    cells = {name: [_text(of(row)) for row in rows] for name, of in columns.items()}
    shown = {name: texts for name, texts in cells.items() if any(texts)}
    write(f"{title}: none" if not rows else f"{title}:")
    if not shown:
        return
    widths = [max(map(cell_len, (name, *texts))) for name, texts in shown.items()]
    lines = _share_lines(widths)
    for row in (list(shown), *zip(*shown.values(), strict=True)):
        for number, line in enumerate(lines):
            write_cells([(row[i], widths[i]) for i in line], indent=INDENT if number else 0)


def print_page(
    title: str, columns: Columns[Row], rows: Sequence[Row], *, as_json: bool, following: str
) -> None:
    """Print a list of at most MAX_SHOWN rows. After a full page, say how to get the next one.

    `following` is the option for it: its value is the first column of the last row.
    """
    print_list(title, columns, rows, as_json=as_json)
    if len(rows) == MAX_SHOWN and not as_json:
        last = next(iter(columns.values()))(rows[-1])
        write(f"There may be more: {following} {last}")


def print_fields(fields: Mapping[str, object], *, as_json: bool) -> None:
    """Print one field a line, its name and its value. Fields without a value are left out."""
    if as_json:
        print_json({_key(name): value for name, value in fields.items()})
        return
    shown = {name: text for name, value in fields.items() if (text := _text(value))}
    name_width = max(map(len, shown))
    for name, text in shown.items():
        write_cells([(name, name_width), (text, cell_len(text))])


def print_json(value: object) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    sys.stdout.write(orjson.dumps(value, default=str, option=options).decode())


def write(line: str) -> None:
    sys.stdout.write(line.rstrip() + "\n")


def write_cells(cells: Sequence[tuple[str, int]], *, indent: int = 0) -> None:
    """Write one line of texts, each with the width of its column. The last may take several."""
    before = " " * indent
    for text, column in cells[:-1]:
        before += text + " " * (column - cell_len(text) + GAP)
    last = textwrap.wrap(cells[-1][0], width() - cell_len(before), break_on_hyphens=False)
    write(before + (last[0] if last else ""))
    for line in last[1:]:
        write(" " * cell_len(before) + line)


def printable(text: str) -> str:
    """Escape what is not printable, so that it cannot control the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _share_lines(widths: Sequence[int]) -> list[list[int]]:
    """Return which columns share a line, in their order: as many as fit."""
    lines: list[list[int]] = []
    used = width()
    for column, needed in enumerate(widths):
        if used + GAP + needed > width():
            used = (INDENT if lines else 0) + needed
            lines.append([column])
        else:
            used += GAP + needed
            lines[-1].append(column)
    return lines


def _key(name: str) -> str:
    return name.lower().replace(" ", "_")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, list | tuple):
        return printable(", ".join(map(str, value)))
    return printable(str(value))
