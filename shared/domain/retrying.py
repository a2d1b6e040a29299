"""Whether something that failed is tried again, and when: pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.domain.account import Untellable
from shared.domain.splitting import Unparsable

#: Whose it is to mend: a fault of ours, something the customer must do, what Meta sent, or a
#: webhook that kills whoever tries it.
Blame = Literal["ours", "customer", "meta", "poison"]

#: What will fail the same way for ever, and whose fault it is.
_PERMANENT: dict[type[BaseException], Blame] = {Unparsable: "meta", Untellable: "meta"}


@dataclass(frozen=True, slots=True)
class Retry:
    after_seconds: int


@dataclass(frozen=True, slots=True)
class Die:
    blame: Blame


def decide(error: BaseException, attempt: int, delays: Sequence[int]) -> Retry | Die:
    """What becomes of a row whose `attempt`-th try (from 1) failed for its own sake.

    `delays` are the seconds before each retry; there is one try more than delays.
    """
    for permanent, blame in _PERMANENT.items():
        if isinstance(error, permanent):
            return Die(blame)
    if attempt <= len(delays):
        return Retry(delays[attempt - 1])
    return Die("ours")


def describe(error: BaseException) -> str:
    """What failed and where, never the text of somebody else's exception: it may quote content.

    The same fault gives the same text: letters are grouped by it.
    """
    if isinstance(error, tuple(_PERMANENT)):
        return f"{type(error).__name__.lower()}: {error}"
    sqlstate = getattr(error, "sqlstate", None)
    name = type(error).__name__ + (f" ({sqlstate})" if sqlstate else "")
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.startswith(("shared.", "services.")):
            place = f" in {module}.{traceback.tb_frame.f_code.co_name}"
        traceback = traceback.tb_next
    return f"failed: {name}{place}"
