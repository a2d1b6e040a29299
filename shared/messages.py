"""What travels through RabbitMQ: versioned JSON that a person can read in RabbitMQ's own UI."""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import orjson

BUNDLE_VERSION = 1
EVENT_VERSION = 1
#: A bundle's bounds; a webhook larger than this travels alone.
MAX_BUNDLE_WEBHOOKS = 100
MAX_BUNDLE_BYTES = 1_000_000

_SIGNATURE = re.compile(r"(sha256=[0-9a-fA-F]{64})?")
#: A time outside of these was not written by us, and some are more than a database can hold.
_YEARS = range(2020, 2200)

WebhookKind = Literal["whatsapp", "test"]
WEBHOOK_KINDS: tuple[WebhookKind, ...] = get_args(WebhookKind)


class BrokenEnvelope(Exception):
    """The message is not a bundle: it was not published by us, or not whole."""


class UnknownVersion(Exception):
    """The bundle was written by newer code; this process must not guess at it."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One POST from Meta, its exact bytes, under the id it got at the door.

    `signature` is the header's value as it came, "" where the road asks for none.
    """

    id: UUID
    received_at: datetime
    kind: WebhookKind
    signature: str
    body: bytes


def encode_webhook(webhook: Webhook) -> bytes:
    """One item of a bundle: the body as text if it is UTF-8 and not mostly escapes, else base64."""
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
    # A body of control characters would grow six-fold, past what a broker takes (16 MiB in 4.x).
    if encoded is None or len(encoded) > 2 * len(webhook.body) + 512:
        encoded = orjson.dumps(item | {"body_base64": b64encode(webhook.body).decode()})
    return encoded


def join_bundle(items: Sequence[bytes]) -> bytes:
    return b'{"version":%d,"webhooks":[%b]}' % (BUNDLE_VERSION, b",".join(items))


def decode_bundle(message: bytes) -> list[Webhook]:
    """The webhooks of one message. Raises BrokenEnvelope or UnknownVersion."""
    try:
        bundle = orjson.loads(message)
        version = bundle["version"]
        if version == BUNDLE_VERSION:
            return [_decode_webhook(item) for item in _list(bundle["webhooks"])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenEnvelope from error
    if isinstance(version, int) and version > BUNDLE_VERSION:
        raise UnknownVersion
    raise BrokenEnvelope


def _decode_webhook(item: dict[str, Any]) -> Webhook:
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
    if webhook.received_at.tzinfo is None or webhook.received_at.year not in _YEARS:
        raise ValueError
    return webhook


@dataclass(frozen=True, slots=True)
class Nudge:
    """Word that a row will be due: it may be lost, doubled or late, for the row is the truth.

    `attempt` is the try that comes next, `seconds` how long the nudge rests before.
    """

    id: UUID
    attempt: int
    seconds: int


def encode_nudge(nudge: Nudge) -> bytes:
    return orjson.dumps({"version": 1, "id": str(nudge.id), "attempt": nudge.attempt})


@dataclass(frozen=True, slots=True)
class Event:
    """What the company's backend reads: docs/events.asyncapi.yaml is its contract.

    `revision` is a connection's, `webhook_id` a change's; the other is None, and so is an
    onboarding's `waba_id` before it is proven. `data` is JSON.
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
    """`data` goes in as it is, unread."""
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
