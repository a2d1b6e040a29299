"""Read at Meta whether a connection is still alive. This corrects what webhooks said of its end."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared.actions import ownership
from shared.actions.connection_state import record_facts
from shared.actions.number_links import record_links
from shared.actions.number_states import tell_states
from shared.crypto import KeyRing
from shared.domain.facts import READ_AFTER, Fact, live_facts, whole_second
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.numbers import PhoneNumber
from shared.domain.proof import TokenReport
from shared.domain.token_health import TokenState
from shared.graph.client import Graph
from shared.store.connections import connections, eras, follow_ups, numbers, sessions, tokens
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.eras import Era
from shared.store.pool import Conn, Pool, now, transaction

#: How long another organization's login that names the WABA keeps a suspended era from going on: by
#: that login the WABA is shared anew, so that the old token may reach it again.
CONTEST = timedelta(minutes=10)
#: Reasons of Meta's for which the WABA itself is out of reach.
_OUT_OF_REACH = frozenset({"permission_missing", "not_found", "number_deleted"})
#: `unsubscribed`: reached, but Meta sends us no webhooks. `unreachable`: the token is valid.
#: `undecided`: Meta refuses for another reason, such as a ban.
Reach = Literal["no_token", "reached", "unsubscribed", "unreachable", "token_dead", "undecided"]


@dataclass(frozen=True, slots=True)
class _Answer:
    reach: Reach
    asked_at: datetime
    is_settled: bool
    is_contested: bool
    numbers: Sequence[PhoneNumber] | None


async def read_connection(
    pool: Pool,
    ring: KeyRing,
    graph: Graph,
    waba_id: str,
    *,
    is_settled: bool = False,
    is_contested: bool = False,
    can_wait: bool = False,
) -> Reach:
    """Ask Meta what the token of the open era still reaches, and record it.

    A suspended era goes on if the token reaches the WABA, and has ended if it does not or if there
    is none. A lost subscription is made again. `is_settled`: the caller has waited READ_AFTER since
    the takedown; earlier Meta's yes is not believed. `is_contested`: another organization's login
    names the WABA; then an era whose valid token does not reach it has ended, though no takedown
    was received. `can_wait`: onboardings have the rest of the app's limit. Raise GraphError; then
    nothing is decided.
    """
    async with transaction(pool) as conn:
        token = await _token(conn, ring, await eras.open_era(conn, waba_id))
        asked_at = await now(conn)
        known = await numbers.current(conn, waba_id)
        links = [each.link for each in known] or (await numbers.links(conn, [waba_id]))[waba_id]
        has_links = any(link.cut for link in links) or any(each.is_coexistence for each in known)
    report = None
    if token is not None:
        report = await graph.debug_token(token.text, subject=waba_id, can_wait=can_wait)
    reach: Reach = "no_token"
    listed = None
    if token is not None and report is not None:
        is_alive = report.is_valid and report.app_id == graph.app_id
        reach = await _reach(graph, waba_id, token.text) if is_alive else "token_dead"
        if has_links and reach in ("reached", "unsubscribed"):
            listed = await graph.read_numbers(waba_id, token.text)
    async with transaction(pool) as conn:
        [row] = await connections.lock(conn, [waba_id])
        era = await eras.open_era(conn, waba_id)
        if not _is_same(
            token, await _token(conn, ring, era)
        ):  # the answer is about a token of the past
            return reach
        if token is not None and report is not None and not report.is_valid:
            await tokens.set_state(conn, waba_id, _dead_state(report), token)
        await _record(conn, row, era, _Answer(reach, asked_at, is_settled, is_contested, listed))
    return reach


async def _token(conn: Conn, ring: KeyRing, era: Era | None) -> tokens.StoredToken | None:
    """Return the open era's token: one that a disconnect still uses is of an era that ended."""
    return None if era is None else await tokens.read(conn, ring, era.waba_id)


def _is_same(asked: tokens.StoredToken | None, current: tokens.StoredToken | None) -> bool:
    if asked is None or current is None:
        return asked is current
    return hmac.compare_digest(asked.text.encode(), current.text.encode())


async def _record(conn: Conn, row: ConnectionRow, era: Era | None, answer: _Answer) -> None:
    if answer.reach == "undecided":
        return
    at = whole_second(answer.asked_at)
    is_reached = answer.reach in ("reached", "unsubscribed")
    is_lost = answer.is_contested and answer.reach == "unreachable"
    if era is not None and (is_lost or (era.is_suspended and not is_reached)):
        await ownership.end(conn, row, era, "taken_down")
    elif era is not None and era.is_suspended and not await _is_believed(conn, era, answer):
        return
    elif is_reached:
        if era is not None and (era.is_suspended or not await _is_contested(conn, era, answer)):
            until = era.suspended_at or answer.asked_at - READ_AFTER
            await ownership.confirm(conn, row, era, until)
        if answer.numbers is not None:
            await _record_links(conn, row, answer.numbers, at)
            [row] = await connections.lock(conn, [row.waba_id])
        await record_reached(conn, row, at, is_subscribed=answer.reach == "reached")
    elif answer.reach == "unreachable":
        await record_facts(conn, row, [Fact("reach", "unreachable", at)])


async def _record_links(
    conn: Conn, row: ConnectionRow, listed: Sequence[PhoneNumber], at: datetime
) -> None:
    """Record what Meta says of the link of each number: connected, or not on the app any more."""
    known = await numbers.current(conn, row.waba_id)
    await numbers.save(conn, row.waba_id, listed)
    await record_links(conn, row, known, listed, at)
    [row] = await connections.lock(conn, [row.waba_id])
    await tell_states(conn, row)


async def _is_believed(conn: Conn, era: Era, answer: _Answer) -> bool:
    """Return whether Meta's yes means that the takedown which suspended the era was not true."""
    if era.suspended_at is None:
        return True
    if not answer.is_settled and answer.asked_at < era.suspended_at + READ_AFTER:
        return False
    is_contested = await _is_contested(conn, era, answer)
    return not is_contested or answer.asked_at > era.suspended_at + CONTEST


async def _is_contested(conn: Conn, era: Era, answer: _Answer) -> bool:
    """Return whether another organization's login names the WABA. By it the customer shares the
    WABA anew: that the era's token reaches it refutes no takedown."""
    naming = (await sessions.naming(conn, [era.waba_id])).get(era.waba_id, set())
    return answer.is_contested or bool(naming - {era.organization_id})


async def record_reached(
    conn: Conn, row: ConnectionRow, at: datetime, *, is_subscribed: bool
) -> None:
    """Record that the WABA is alive; if an active one lost its subscription, have it made again."""
    # A number's link to its phone is known from webhooks alone.
    new_facts = [fact for fact in live_facts(at) if fact.name != "phone_link"]
    is_lost = not is_subscribed and row.status.state == "active"
    if is_lost:
        new_facts.append(Fact("setup", "subscription_lost", await now(conn)))
    await record_facts(conn, row, new_facts)
    if is_lost:
        await follow_ups.add(conn, "provision", [row.waba_id])


async def _reach(graph: Graph, waba_id: str, token: str) -> Reach:
    try:
        await graph.read_waba(waba_id, token)
        return "reached" if await graph.is_subscribed(waba_id, token) else "unsubscribed"
    except (MetaRefused, CustomerMustAct) as error:
        if error.is_token_dead:
            return "token_dead"
        return "unreachable" if error.reason in _OUT_OF_REACH else "undecided"


def _dead_state(report: TokenReport) -> TokenState:
    is_expired = report.expires_at is not None and report.expires_at <= datetime.now(UTC)
    return "expired" if is_expired else "revoked"
