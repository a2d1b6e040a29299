"""Commands that find what is stored of a person."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.database import in_transaction, with_bodies
from services.scheduler.admin.options import (
    NO_REASON,
    OnBehalfOption,
    ReasonOption,
    requester,
    time_option,
)
from services.scheduler.admin.tables import Columns, JsonOption, print_list
from services.scheduler.run_job import UsageError, run_job
from shared.crypto import KeyRing, SubjectHasher
from shared.domain.people import pattern_of, person_form
from shared.settings.groups import BodyKeySettings, SubjectKeySettings
from shared.settings.load import load
from shared.store import audit, people, texts
from shared.store.people import Found
from shared.store.pool import Conn, Pool, transaction
from shared.store.texts import Received, StoredText

app = typer.Typer(help="Find what is stored of a person.", no_args_is_help=True)

PersonArgument = Annotated[
    str, typer.Argument(metavar="NUMBER", help="A phone number or another id of the person.")
]

_COLUMNS: Columns[Found] = {
    "field": lambda found: found.field,
    "changes": lambda found: found.changes,
    "with content": lambda found: found.contents,
    "first": lambda found: found.first_received_at,
    "last": lambda found: found.last_received_at,
}


class PeopleSettings(SubjectKeySettings, BodyKeySettings):
    pass


@app.command("find")
def find_person(
    person: PersonArgument,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the changes that name a person, by field. The audit log does not name the person.

    A number is found in any of its forms, in numbers and ids; not inside a text: `find-in-texts`
    opens what is stored.
    """

    async def find(conn: Conn) -> None:
        _require_person(person)
        settings = load(PeopleSettings)
        hasher, bodies = SubjectHasher(settings.subject_keys), KeyRing(settings.body_keys)
        found = await people.find(conn, hasher, bodies, person)
        await audit.add(
            conn,
            requester(reason, on_behalf_of),
            action="people.found",
            subject=f"{sum(each.changes for each in found)} changes",
        )
        print_list("Changes that name the person (UTC)", _COLUMNS, found, as_json=as_json)

    run_job("people", in_transaction(find))


@dataclass(slots=True)
class Opened:
    """How much of a kind was opened, how much no key opens, and what of it has the person's id."""

    kind: str
    opened: int = 0
    unopened: int = 0
    found: int = 0
    first_received_at: datetime | None = None
    last_received_at: datetime | None = None

    def add(self, stored: StoredText, pattern: re.Pattern[bytes]) -> None:
        if stored.text is None:
            self.unopened += 1
            return
        self.opened += 1
        if pattern.search(stored.text):
            at = stored.received_at
            self.found += 1
            self.first_received_at = min(self.first_received_at or at, at)
            self.last_received_at = max(self.last_received_at or at, at)


_OPENED_COLUMNS: Columns[Opened] = {
    "kind": lambda opened: opened.kind,
    "found": lambda opened: opened.found,
    "opened": lambda opened: opened.opened,
    "no key opens": lambda opened: opened.unopened,
    "first": lambda opened: opened.first_received_at,
    "last": lambda opened: opened.last_received_at,
}


@app.command("find-in-texts")
def find_in_texts(
    person: PersonArgument,
    since: Annotated[datetime, time_option("Only what was received then or later")],
    until: Annotated[datetime | None, time_option("Only what was received before")] = None,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count where texts name a person.

    Opens all that is stored of a period, for what `find` cannot find: ids inside a text or a vCard,
    in a field that Meta has not documented, in a webhook that could not be split. Nothing of the
    contents is shown. Not found is what is not written out, as a number without its country code
    (give it so too), in a picture, or in a dead letter of a message.

    Example: porteiro people find-in-texts +5511987654321 --since 35d --reason "asked us"
    """

    async def find(pool: Pool, ring: KeyRing) -> None:
        _require_person(person)
        end = until or datetime.now(UTC)
        async with transaction(pool) as conn:
            await audit.add(
                conn,
                requester(reason, on_behalf_of),
                action="people.opened",
                subject=f"{since:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
            )
        pattern = pattern_of(person)
        kinds: dict[str, Opened] = {}
        async for stored in _texts(pool, ring, since, end):
            kinds.setdefault(stored.kind, Opened(stored.kind)).add(stored, pattern)
        rows = [kinds[kind] for kind in sorted(kinds)]
        print_list("What has the person's id (UTC)", _OPENED_COLUMNS, rows, as_json=as_json)

    run_job("people", with_bodies(find))


async def _texts(
    pool: Pool, ring: KeyRing, since: datetime, until: datetime
) -> AsyncIterator[StoredText]:
    """Yield what was received in the period, the oldest webhooks first, a batch a transaction."""
    after = Received(since, UUID(int=0))
    while True:
        async with transaction(pool) as conn:
            batch = await texts.next_webhooks(conn, after, until)
            if not batch:
                return
            async for stored in texts.texts_of(conn, ring, batch):
                yield stored
        after = batch[-1]


def _require_person(person: str) -> None:
    if person_form(person) is None:
        raise UsageError(["NUMBER must be a phone number, or an id of Meta's for a person"])
