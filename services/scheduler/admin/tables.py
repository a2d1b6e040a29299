"""Tables on the terminal."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

#: Rows a page.
MAX_SHOWN = 50

Row = Sequence[str | None]


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Row], *, no_wrap: Collection[str] = ()
) -> None:
    """Print the rows. Columns named in `no_wrap` keep each value on one line."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in no_wrap)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_page(
    title: str, columns: Sequence[str], rows: Sequence[Row], *, no_wrap: Collection[str] = ()
) -> None:
    """Print at most MAX_SHOWN rows. The title of a full page says how to get the next page.

    The first column is what `--after` takes.
    """
    if len(rows) == MAX_SHOWN:
        title += f"; what follows: --after {rows[-1][0]}"
    print_table(title, columns, rows, no_wrap=no_wrap)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print one field a line: its name and its value."""
    table = Table(show_header=False)
    for name, value in fields:
        table.add_row(name, value)
    Console().print(table)
