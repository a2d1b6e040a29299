"""Bugs to plant into a copy of the code: the checker must find each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Replacement(NamedTuple):
    """A text that occurs once in a file, and what the bug makes of it."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """`finding` is what the checker must say of it (see deploy/local/oracle/ledger.py)."""

    name: str
    finding: str
    replacements: Sequence[Replacement]


class NotPlanted(Exception):
    """The code has changed: the bug's text does not occur in it exactly once."""


def plant(bug: Bug, folder: Path) -> None:
    """Write the bug into the code in the folder. Raise NotPlanted."""
    for file, old, new in bug.replacements:
        path = folder / file
        text = path.read_text()
        if text.count(old) != 1:
            raise NotPlanted(f"{bug.name}: {file} has not exactly one {old!r}")
        path.write_text(text.replace(old, new))


_GROUP_WORKER = "services/processor/intake/group_worker.py"
_RELAY = "services/processor/event_relay.py"
_ERAS = "shared/store/connections/eras.py"

BUGS = (
    Bug("acknowledged before the commit", "webhook lost", [
        Replacement(
            _GROUP_WORKER,
            '        crash_point("delivery.received")\n',
            "        for delivery in deliveries:\n            await delivery.ack()\n",
        ),
        Replacement(
            _GROUP_WORKER,
            '            await delivery.ack()\n            crash_point("delivery.acked")\n',
            "            pass\n",
        ),
    ]),
    Bug("another group's deliveries acknowledged too", "webhook lost", [
        Replacement(
            "services/processor/intake/delivery_queue.py",
            "await self.message.ack()",
            "await self.message.ack(multiple=True)",
        ),
    ]),
    Bug("the body of a split webhook not stored", "body lost", [
        Replacement(
            "shared/store/intake/webhooks.py",
            "[w for w in webhooks if w.id in ids])",
            '[row.webhook for row in rows if row.webhook.id in ids and row.state != "split"])',
        ),
    ]),
    Bug("all items of a list but the first dropped", "change lost", [
        Replacement(
            "shared/domain/splitting.py",
            "for item in value[name]]",
            "for item in value[name][:1]]",
        ),
    ]),
    Bug("the contact dropped", "content changed", [
        Replacement(
            "shared/domain/splitting.py",
            "{**shared, name: [item], **own}",
            "{**shared, name: [item]}",
        ),
    ]),
    Bug("the content erased once it is told", "content lost", [
        Replacement(
            "shared/store/events.py",
            "        UPDATE events SET published_at = now(), is_unrouted",
            "        WITH erased AS (\n"
            "            UPDATE webhook_changes SET content = NULL WHERE id = ANY($1))\n"
            "        UPDATE events SET published_at = now(), is_unrouted",
        ),
    ]),
    Bug("changes given to a former owner", "organization wrong", [
        Replacement(
            _ERAS,
            "AND (era.ended_at IS NULL OR era.ended_at > {change}.received_at)\n",
            "\n",
        ),
        Replacement(
            _ERAS,
            "            AND (ended_at IS NULL OR ended_at > {change}.received_at)\n",
            "",
        ),
    ]),
    Bug("a change dead without a letter", "dead without a letter", [
        Replacement(
            "services/processor/intake/failures.py",
            "_only(await dead_letters.add_changes(conn, [lease.id], blame))\n",
            "None\n",
        ),
    ]),
    Bug("of a group's effects on a WABA the last applied", "fact wrong", [
        Replacement(
            "shared/actions/reported_changes.py",
            "new_facts.setdefault(effects.waba_id, []).extend(_with_receipt(effects))",
            "new_facts[effects.waba_id] = _with_receipt(effects)",
        ),
    ]),
    Bug("a transition without its event", "transition lost", [
        Replacement(
            "shared/actions/connection_state.py",
            "for transition in _transitions(*pair)]",
            'for transition in _transitions(*pair) if transition.row.status.state != "disabled"]',
        ),
    ]),
    Bug("an event told to another organization", "event told to another organization", [
        Replacement(
            "shared/store/events.py",
            "coalesce(field, 'unknown'), organization_id, waba_id\n",
            "coalesce(field, 'unknown'), (SELECT min(id) FROM organizations), waba_id\n",
        ),
    ]),
    Bug("an event told under two ids", "event told under two ids", [
        Replacement(_RELAY, "from uuid import UUID\n", "from dataclasses import replace\n"
                    "from uuid import UUID, uuid4\n"),
        Replacement(
            _RELAY,
            "            await self._publisher.publish(\n",
            "            twin = replace(event, id=uuid4())\n"
            "            await self._publisher.publish(twin.type, encode_event(twin),\n"
            "                exchange=EVENTS, timeout=PUBLISH_SECONDS,\n"
            "                properties=Properties(str(twin.id)))\n"
            "            await self._publisher.publish(\n",
        ),
    ]),
)  # fmt: skip
