"""The facts that hold of connections and their numbers."""

from collections.abc import Collection, Mapping, Sequence

from shared.domain.account_changes import NumberRef
from shared.domain.facts import Fact, FactName, merge
from shared.store.pool import Conn


async def record(conn: Conn, told: Mapping[str, Sequence[Fact]]) -> None:
    """Keep of each fact (by WABA id) what holds; idempotent, and in any order the same."""
    rows = sorted(
        ((waba_id, fact) for waba_id, facts in told.items() for fact in merge(facts).values()),
        key=lambda row: (row[0], row[1].digits, row[1].name),  # one lock order for everybody
    )
    await conn.execute(
        """
        INSERT INTO connection_facts AS held (waba_id, digits, name, value, at, is_takedown)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                             $6::boolean[])
        ON CONFLICT (waba_id, digits, name) DO UPDATE
        SET value = excluded.value, at = excluded.at, is_takedown = excluded.is_takedown
        WHERE (excluded.at, excluded.is_takedown, excluded.value)
            > (held.at, held.is_takedown, held.value)
        """,
        [waba_id for waba_id, _ in rows],
        [fact.digits for _, fact in rows],
        [fact.name for _, fact in rows],
        [fact.value for _, fact in rows],
        [fact.at for _, fact in rows],
        [fact.is_takedown for _, fact in rows],
    )


async def current(conn: Conn, waba_ids: Collection[str]) -> dict[str, dict[FactName, Fact]]:
    """By WABA id and name the facts that hold of the connections themselves."""
    held: dict[str, dict[FactName, Fact]] = {waba_id: {} for waba_id in waba_ids}
    for record in await conn.fetch(
        """
        SELECT waba_id, name, value, at FROM connection_facts
        WHERE waba_id = ANY($1) AND digits = ''
        """,
        list(waba_ids),
    ):
        fact = Fact(record["name"], record["value"], record["at"])
        held[record["waba_id"]][fact.name] = fact
    return held


async def add_numbers(conn: Conn, numbers: Collection[tuple[str, NumberRef]]) -> None:
    """Numbers (by WABA id) that were named; an id once known for its digits stays known."""
    if not numbers:
        return
    ids: dict[tuple[str, str], str | None] = {}
    for waba_id, number in numbers:
        place = (waba_id, number.digits)
        ids[place] = number.phone_number_id or ids.get(place)
    rows = sorted(ids.items())
    await conn.execute(
        """
        INSERT INTO phone_numbers AS held (waba_id, digits, phone_number_id)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
        ON CONFLICT (waba_id, digits) DO UPDATE SET phone_number_id = excluded.phone_number_id
        WHERE excluded.phone_number_id IS DISTINCT FROM held.phone_number_id
            AND excluded.phone_number_id > coalesce(held.phone_number_id, '')
        """,
        [waba_id for (waba_id, _), _ in rows],
        [digits for (_, digits), _ in rows],
        [phone_number_id for _, phone_number_id in rows],
    )
