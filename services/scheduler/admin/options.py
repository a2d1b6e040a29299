"""Options and arguments that several commands take, and checks of their values."""

import getpass
import re
from typing import Annotated

import typer

from services.scheduler.run_job import UsageError
from shared.domain.splitting import as_id

OrganizationArgument = Annotated[str, typer.Argument(help="The company's own id for its customer.")]
WabaArgument = Annotated[str, typer.Argument(help="Meta's id of the WABA.")]
AfterOption = Annotated[str, typer.Option(help="Only WABAs whose id comes after this one.")]
ReasonOption = Annotated[str, typer.Option(help="The reason, for the audit log.")]
ActorOption = Annotated[
    str,
    typer.Option(
        default_factory=getpass.getuser, help="Who does it, for the audit log; else your user name."
    ),
]

ORGANIZATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")


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
