"""Decide whether and when a failed attempt is retried. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.domain.account_changes import UnreadableChange
from shared.domain.exact_json import Unparsable

#: Delays before each retry, unless the environment says otherwise: attempts at 0, 30, 330, 2,130 s.
RETRY_SECONDS = (30, 300, 1800)

#: Who can mend the cause: we, the customer or Meta (its content is wrong). `poison`: a webhook or
#: change that ends every process that attempts it.
Blame = Literal["ours", "customer", "meta", "poison"]

#: Errors that every further attempt would repeat, and who can mend their cause.
_PERMANENT: dict[type[BaseException], Blame] = {Unparsable: "meta", UnreadableChange: "meta"}


@dataclass(frozen=True, slots=True)
class Retry:
    after_seconds: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    blame: Blame


def decide(error: BaseException, attempt: int, retry_seconds: Sequence[int]) -> Retry | GiveUp:
    """Decide what follows when attempt number `attempt` (from 1) failed because of the row itself.

    `retry_seconds` is the delay before each retry; a row has one attempt more than retries.
    """
    for permanent, blame in _PERMANENT.items():
        if isinstance(error, permanent):
            return GiveUp(blame)
    if attempt <= len(retry_seconds):
        return Retry(retry_seconds[attempt - 1])
    return GiveUp("ours")


def describe(error: BaseException) -> str:
    """Return a code for the error. It does not change when the failing code is moved or renamed.

    Dead letters are grouped by it. It is `code` for our own errors, the SQLSTATE for PostgreSQL's
    errors and the type's name for all others. The error's text follows only if the error is
    permanent: any other text may quote content.
    """
    sqlstate = getattr(error, "sqlstate", None)
    is_ours = type(error).__module__.startswith(("shared.", "services."))
    code = getattr(error, "code", None) if is_ours else None
    if sqlstate is not None:
        code = f"database_{sqlstate}"
    if not isinstance(code, str):
        code = f"unexpected_{type(error).__name__}"
    return f"{code}: {error}" if isinstance(error, tuple(_PERMANENT)) else code
