"""The same work in a common design: FastAPI receives, FastStream processes, a message per webhook.

It verifies the signature, publishes with confirms to a quorum queue, and stores each webhook with
our own store functions in one transaction per message.
"""

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from aio_pika.abc import HeadersType
from fastapi import FastAPI, Request, Response
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from uuid_utils.compat import uuid7

from services.ingress.app import PATH
from shared.crypto import KeyRing, SubjectHasher
from shared.domain.splitting import split
from shared.messages import Webhook
from shared.store import people
from shared.store.intake import changes, webhooks

SECRET = os.environ["META_APP_SECRET"].encode()
RING = KeyRing([bytes.fromhex(os.environ["BODY_ENCRYPTION_KEY"])])
HASHER = SubjectHasher([bytes.fromhex(os.environ["SUBJECT_HASH_KEY"])])
PREFETCH = 100

broker = RabbitBroker(
    os.environ["RABBITMQ_URL"], default_channel=Channel(prefetch_count=PREFETCH), logger=None
)
queue = RabbitQueue("peer.raw", queue_type=QueueType.QUORUM, durable=True)


@asynccontextmanager
async def _connected(_: FastAPI) -> AsyncIterator[None]:
    await broker.connect()
    await broker.declare_queue(queue)
    yield
    await broker.stop()


ingress = FastAPI(lifespan=_connected)


@ingress.post(PATH)
async def receive(request: Request) -> Response:
    body = await request.body()
    signature = request.headers.get("x-hub-signature-256", "")
    expected = "sha256=" + hmac.digest(SECRET, body, "sha256").hex()
    if not hmac.compare_digest(signature, expected):
        return Response(status_code=401)
    headers: HeadersType = {
        "id": str(uuid7()),
        "received_at": datetime.now(UTC).isoformat(),
        "signature": signature,
    }
    await broker.publish(body, queue=queue, headers=headers, persist=True)
    return Response(status_code=200)


@broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR)
async def store(message: RabbitMessage) -> None:
    headers = message.headers
    webhook = Webhook(
        UUID(headers["id"]),
        datetime.fromisoformat(headers["received_at"]),
        "whatsapp",
        headers["signature"],
        message.body,
    )
    webhook_changes = split(webhook.body)
    async with pool().acquire() as conn, conn.transaction():
        await webhooks.insert(conn, RING, [webhooks.WebhookRow(webhook, "fast", "broker", "split")])
        rows = [
            changes.SplitChange(webhook.id, webhook.received_at, change)
            for change in webhook_changes
        ]
        await people.add(conn, HASHER, await changes.insert(conn, RING, rows))


_pool: list["asyncpg.Pool[asyncpg.Record]"] = []


def pool() -> "asyncpg.Pool[asyncpg.Record]":
    return _pool[0]


processor = FastStream(broker)


@processor.on_startup
async def _open_pool() -> None:
    _pool.append(await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=4, max_size=20))
