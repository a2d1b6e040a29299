"""Encode and decode RabbitMQ messages: versioned JSON that is readable in RabbitMQ's own UI."""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

import orjson

BUNDLE_VERSION = 1
EVENT_VERSION = 1
#: Limits of a bundle. A webhook larger than MAX_BUNDLE_BYTES is sent alone.
MAX_BUNDLE_WEBHOOKS = 100
MAX_BUNDLE_BYTES = 1_000_000

_KIND = re.compile("[a-z_]{1,40}")
_WABA_ID = re.compile(r"[0-9]{1,20}")
_SIGNATURE = re.compile(r"(sha256=[0-9a-fA-F]{64})?")
#: Porteiro never writes a received_at outside these years, and PostgreSQL cannot store some of
#: those times.
_RECEIVED_YEARS = range(2020, 2200)

WebhookKind = Literal["whatsapp", "test"]
WEBHOOK_KINDS: tuple[WebhookKind, ...] = get_args(WebhookKind)


class BrokenBundle(Exception):
    """The message is not a bundle: Porteiro did not publish it, or it is damaged."""


class UnknownVersion(Exception):
    """Newer code wrote the bundle or item, so this process must not interpret it."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One POST from Meta: its exact bytes, and the id and time assigned on receipt.

    `signature` is the header's value as received, or "" on the route that requires none.
    """

    id: UUID
    received_at: datetime
    kind: WebhookKind
    signature: str
    body: bytes


def encode_webhook(webhook: Webhook) -> bytes:
    """Encode one item of a bundle. The body is text, or base64 if not UTF-8 or mostly escapes."""
    item: dict[str, Any] = {
        "id": webhook.id,
        "received_at": webhook.received_at,
        "kind": webhook.kind,
        "signature": webhook.signature,
    }
    try:
        encoded = orjson.dumps(item | {"body": webhook.body.decode()})
    except UnicodeDecodeError:
        encoded = None
    # As text, a body of control characters would grow six times, above RabbitMQ's limit (16 MiB in
    # 4.x).
    if encoded is None or len(encoded) > 2 * len(webhook.body) + 512:
        encoded = orjson.dumps(item | {"body_base64": b64encode(webhook.body).decode()})
    return encoded


def join_bundle(items: Sequence[bytes]) -> bytes:
    return b'{"version":%d,"webhooks":[%b]}' % (BUNDLE_VERSION, b",".join(items))


class Bundle(NamedTuple):
    """The webhooks of a message. `newer` is what only newer code can read, as a bundle of its own;
    None if there is nothing of that."""

    webhooks: Sequence[Webhook]
    newer: bytes | None


def decode_bundle(message: bytes) -> Bundle:
    """Return the content of one message. Raise BrokenBundle."""
    try:
        bundle = orjson.loads(message)
        version = bundle["version"]
        if isinstance(version, int) and version > BUNDLE_VERSION:
            return Bundle((), message)
        if version != BUNDLE_VERSION:
            raise BrokenBundle
        webhooks, newer = [], []
        for item in _list(bundle["webhooks"]):
            try:
                webhooks.append(_decode_webhook(item))
            except UnknownVersion:
                newer.append(orjson.dumps(item))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenBundle from error
    return Bundle(webhooks, join_bundle(newer) if newer else None)


def describe_newer(message: bytes) -> str:
    """Return what of a bundle's `newer` this code does not know: its version, or kinds of webhooks.

    Nothing else of it is told: it comes from outside.
    """
    bundle = orjson.loads(message)
    if bundle["version"] != BUNDLE_VERSION:
        return f"version {bundle['version']}"
    kinds = {item["kind"] for item in bundle["webhooks"]}
    return ", ".join(sorted(f"kind {k if _KIND.fullmatch(k) else 'unreadable'}" for k in kinds))


def _decode_webhook(item: dict[str, Any]) -> Webhook:
    if isinstance(item["kind"], str) and item["kind"] not in WEBHOOK_KINDS:
        raise UnknownVersion
    text = item.get("body")
    webhook = Webhook(
        id=UUID(item["id"]),
        received_at=datetime.fromisoformat(item["received_at"]),
        kind=item["kind"],
        signature=item["signature"],
        body=b64decode(item["body_base64"], validate=True) if text is None else text.encode(),
    )
    if webhook.kind not in WEBHOOK_KINDS or not _SIGNATURE.fullmatch(webhook.signature):
        raise ValueError
    if webhook.received_at.tzinfo is None or webhook.received_at.year not in _RECEIVED_YEARS:
        raise ValueError
    return webhook


@dataclass(frozen=True, slots=True)
class Nudge:
    """A message that a row will be due. It may be lost, doubled or late: only the row decides.

    `attempt` is the number of the next attempt, `seconds` how long the nudge waits in its queue.
    """

    id: UUID
    attempt: int
    seconds: int


def encode_nudge(nudge: Nudge) -> bytes:
    return orjson.dumps({"version": 1, "id": str(nudge.id), "attempt": nudge.attempt})


def encode_check_nudge(waba_id: str) -> bytes:
    """Encode a nudge that this connection is to be checked now."""
    return orjson.dumps({"version": 1, "waba_id": waba_id})


def decode_check_nudge(message: bytes) -> str | None:
    """Return the WABA's id; None if the message names none that we can read."""
    try:
        waba_id = orjson.loads(message)["waba_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return waba_id if isinstance(waba_id, str) and _WABA_ID.fullmatch(waba_id) else None


@dataclass(frozen=True, slots=True)
class Event:
    """An event for the company's backend. Its contract is docs/events.asyncapi.yaml.

    `revision` is set for a connection, `webhook_id` for a change; the other one is None. `waba_id`
    is None for an onboarding that is not proven yet. `data` is JSON.
    """

    id: UUID
    type: str
    occurred_at: datetime
    organization_id: str
    waba_id: str | None
    revision: int | None
    webhook_id: UUID | None
    data: bytes | None


def encode_event(event: Event) -> bytes:
    """Encode an event. `data` is copied without parsing it."""
    return orjson.dumps(
        {
            "version": EVENT_VERSION,
            "id": str(event.id),
            "type": event.type,
            "occurred_at": event.occurred_at,
            "organization_id": event.organization_id,
            "waba_id": event.waba_id,
            "revision": event.revision,
            "webhook_id": None if event.webhook_id is None else str(event.webhook_id),
            "data": None if event.data is None else orjson.Fragment(event.data),
        }
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value
