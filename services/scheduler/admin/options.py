"""Options and arguments that several commands take, and checks of their values."""

import getpass
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from services.scheduler.run_job import UsageError
from shared.domain.splitting import as_id
from shared.store.audit import Requester

OrganizationArgument = Annotated[str, typer.Argument(help="The company's own id for its customer.")]
WabaArgument = Annotated[str, typer.Argument(help="Meta's id of the WABA.")]
AfterOption = Annotated[str, typer.Option(help="Only WABAs whose id comes after this one.")]
ReasonOption = Annotated[str, typer.Option(help="The reason, for the audit log.")]
OnBehalfOption = Annotated[
    str | None,
    typer.Option(
        "--on-behalf-of",
        "--actor",
        help="For whom you do it. The audit log names you too, by your user name.",
    ),
]
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str) -> datetime:
    """Return the time that `2h` (two hours ago) or `2026-01-31T12:00` (UTC unless said) means."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is no time: give how long ago, such as 30m, 2h or 7d, or a date or time (UTC),"
            " such as 2026-01-31 or 2026-01-31T12:00"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def time_option(help_text: str) -> typer.models.OptionInfo:
    """Return an option for a time: how long ago it was, or when."""
    option: typer.models.OptionInfo = typer.Option(
        parser=parse_time, metavar="TIME", help=f"{help_text}, such as 2h (ago) or 2026-01-31."
    )
    return option


#: For commands that may be run without a reason.
NO_REASON = "not given"

ORGANIZATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def requester(reason: str, on_behalf_of: str | None) -> Requester:
    """Return who runs this command, as the audit log names them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return Requester(f"command line, {user}", reason, on_behalf_of)


def require_match(pattern: re.Pattern[str], name: str, value: str) -> str:
    """Return `value`. Raise UsageError unless the whole of it matches."""
    if not pattern.fullmatch(value):
        raise UsageError([f"{name} must match {pattern.pattern}"])
    return value


def require_meta_id(name: str, value: str) -> str:
    """Return `value`. Raise UsageError unless it can be an id of Meta's."""
    if as_id(value) is None:
        raise UsageError([f"{name} must be 1 to 20 digits"])
    return value
