"""Make webhooks and changes for the store's tests."""

from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from shared.domain.splitting import Change
from shared.messages import Webhook
from shared.store.intake.changes import SplitChange
from shared.store.intake.webhooks import WebhookRow, WebhookState

WABA = "210000000000010"
SIGNATURE = "sha256=" + "5a" * 32


def make_webhook(body: bytes = b'{"entry":[]}', *, at: datetime | None = None) -> Webhook:
    return Webhook(uuid7(), at or datetime.now(UTC), "whatsapp", SIGNATURE, body)


def make_webhook_row(
    webhook: Webhook | None = None, *, state: WebhookState = "unsplit"
) -> WebhookRow:
    return WebhookRow(webhook or make_webhook(), "fast", "database", state)


def make_change(number: int, *, content: bytes = b"{}") -> Change:
    """Return a different change for each `number`."""
    return Change(
        key=number.to_bytes(20),
        digest=number.to_bytes(32),
        field="messages",
        event="text",
        waba_id=WABA,
        phone_number_id="230000000000060",
        people=frozenset({"15550004444"}),
        content=content,
    )


def changes_of(webhook: Webhook, *changes: Change) -> list[SplitChange]:
    """Return the rows of a webhook's changes, as `changes.insert` expects them."""
    return [SplitChange(webhook.id, webhook.received_at, change) for change in changes]
