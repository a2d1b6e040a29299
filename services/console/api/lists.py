"""Lists in pages: what a request may ask for, and what it should ask for next."""

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, Field

from services.console.http.endpoints import Model

MAX_LISTED = 100

After = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{0,20}$",
        description="`next_after` of the page before; empty for the first page",
    ),
]
PageLimit = Annotated[int, Field(ge=1, le=MAX_LISTED, description="How many at most")]
NextAfter = Annotated[
    str | None,
    Field(description="Ask again with this as `after` for the next page; null: this is the last"),
]


class PageQuery(Model):
    after: After = ""
    limit: PageLimit = MAX_LISTED


class PageAnswer(BaseModel):
    next_after: NextAfter


class Listed(Protocol):
    """What is listed, in the order of its WABA ids."""

    @property
    def waba_id(self) -> str: ...


L = TypeVar("L", bound=Listed)
#: A page and its `next_after`.
Page = tuple[Sequence[L], str | None]


def page_of(found: Sequence[L], limit: int) -> Page[L]:
    """Return the page of `limit` rows. If there are more, one more was found."""
    if len(found) <= limit:
        return found, None
    return found[:limit], found[limit - 1].waba_id
