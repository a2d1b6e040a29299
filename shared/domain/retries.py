"""Whether something that failed is tried again, and when: pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.domain.account_changes import UnreadableChange
from shared.domain.splitting import Unparsable

#: Whose it is to mend: a fault of ours, something the customer must do, what Meta sent, or a
#: webhook that kills whoever tries it.
Blame = Literal["ours", "customer", "meta", "poison"]

#: What will fail the same way for ever, and whose fault it is.
_PERMANENT: dict[type[BaseException], Blame] = {Unparsable: "meta", UnreadableChange: "meta"}


@dataclass(frozen=True, slots=True)
class Retry:
    after_seconds: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    blame: Blame


def decide(error: BaseException, attempt: int, delays: Sequence[int]) -> Retry | GiveUp:
    """What becomes of a row whose `attempt`-th try (from 1) failed for its own sake.

    `delays` are the seconds before each retry; there is one try more than delays.
    """
    for permanent, blame in _PERMANENT.items():
        if isinstance(error, permanent):
            return GiveUp(blame)
    if attempt <= len(delays):
        return Retry(delays[attempt - 1])
    return GiveUp("ours")


def describe(error: BaseException) -> str:
    """What failed, as a code that stays the same when the code that failed is moved or renamed.

    Letters are grouped by it. Our own errors have a `code`, the servers' an SQLSTATE; of all others
    the type's name. Only a permanent error's text follows: any other may quote content.
    """
    sqlstate = getattr(error, "sqlstate", None)
    code = getattr(error, "code", None) if sqlstate is None else f"database_{sqlstate}"
    if not isinstance(code, str):
        code = f"unexpected_{type(error).__name__}"
    return f"{code}: {error}" if isinstance(error, tuple(_PERMANENT)) else code
