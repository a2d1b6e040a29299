"""The newest facts about connections and their numbers."""

from collections.abc import Collection, Mapping, Sequence

from shared.domain.account_changes import NumberRef
from shared.domain.facts import Fact, FactName, merge
from shared.store.pool import Conn


async def record(conn: Conn, facts: Mapping[str, Sequence[Fact]]) -> None:
    """Record facts (by WABA id). Of each name, the fact with the highest rank is stored.

    Idempotent. The order of the calls does not change the result.
    """
    rows = sorted(
        ((waba_id, fact) for waba_id, group in facts.items() for fact in merge(group).values()),
        key=lambda row: (row[0], row[1].digits, row[1].name),  # every process locks in this order
    )
    await conn.execute(
        """
        INSERT INTO connection_facts AS stored (waba_id, digits, name, value, at, is_takedown)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                             $6::boolean[])
        ON CONFLICT (waba_id, digits, name) DO UPDATE
        SET value = excluded.value, at = excluded.at, is_takedown = excluded.is_takedown
        WHERE (excluded.at, excluded.is_takedown, excluded.value)
            > (stored.at, stored.is_takedown, stored.value)
        """,
        [waba_id for waba_id, _ in rows],
        [fact.digits for _, fact in rows],
        [fact.name for _, fact in rows],
        [fact.value for _, fact in rows],
        [fact.at for _, fact in rows],
        [fact.is_takedown for _, fact in rows],
    )


async def current(conn: Conn, waba_ids: Collection[str]) -> dict[str, dict[FactName, Fact]]:
    """Return the stored facts of the connections, not of their numbers, by WABA id and name."""
    facts: dict[str, dict[FactName, Fact]] = {waba_id: {} for waba_id in waba_ids}
    for record in await conn.fetch(
        """
        SELECT waba_id, name, value, at FROM connection_facts
        WHERE waba_id = ANY($1) AND digits = ''
        """,
        list(waba_ids),
    ):
        fact = Fact(record["name"], record["value"], record["at"])
        facts[record["waba_id"]][fact.name] = fact
    return facts


async def of_numbers(
    conn: Conn, waba_id: str, names: Collection[FactName]
) -> dict[tuple[FactName, str], Fact]:
    """Return the stored facts of the WABA's numbers with these names, by name and digits."""
    records = await conn.fetch(
        """
        SELECT name, value, at, digits FROM connection_facts
        WHERE waba_id = $1 AND digits <> '' AND name = ANY($2)
        """,
        waba_id,
        list(names),
    )
    return {(record["name"], record["digits"]): Fact(**record) for record in records}


LinkFacts = dict[tuple[FactName, str], Fact]


async def about_links(conn: Conn, waba_ids: Collection[str]) -> dict[str, LinkFacts]:
    """Return, by WABA, the facts about its numbers' links to the WhatsApp Business app, by name and
    digits; no digits: of all of them."""
    stored: dict[str, LinkFacts] = {waba_id: {} for waba_id in waba_ids}
    for record in await conn.fetch(
        """
        SELECT waba_id, name, digits, value, at FROM connection_facts
        WHERE waba_id = ANY($1) AND name IN ('phone_link', 'link_takedown')
        """,
        list(waba_ids),
    ):
        fact = Fact(record["name"], record["value"], record["at"], record["digits"])
        stored[record["waba_id"]][fact.name, fact.digits] = fact
    return stored


async def add_numbers(conn: Conn, numbers: Collection[tuple[str, NumberRef]]) -> None:
    """Store numbers (by WABA id) that a webhook named. Of a number's ids the highest is stored, the
    newest of Meta's, whatever order they came in."""
    if not numbers:
        return
    ids: dict[tuple[str, str], str | None] = {}
    for waba_id, number in numbers:
        key = (waba_id, number.digits)
        ids[key] = max(number.phone_number_id, ids.get(key), key=_height)
    rows = sorted(ids.items())
    await conn.execute(
        """
        INSERT INTO phone_numbers AS stored (waba_id, digits, phone_number_id)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
        ON CONFLICT (waba_id, digits) DO UPDATE SET phone_number_id = excluded.phone_number_id
        WHERE (length(excluded.phone_number_id), excluded.phone_number_id)
            > (coalesce(length(stored.phone_number_id), 0), coalesce(stored.phone_number_id, ''))
        """,
        [waba_id for (waba_id, _), _ in rows],
        [digits for (_, digits), _ in rows],
        [phone_number_id for _, phone_number_id in rows],
    )


def _height(phone_number_id: str | None) -> tuple[int, str]:
    return len(phone_number_id or ""), phone_number_id or ""
