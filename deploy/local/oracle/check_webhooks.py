"""Compare the stored webhooks and their bodies with what was sent."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from uuid import UUID

from deploy.local.oracle.expected import Posted
from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Stored, StoredWebhook

_OPEN = ("pending", "failed", "dead")


def check_webhooks(
    ledger: Ledger, posted: Sequence[Posted], stored: Stored
) -> Mapping[UUID, bytes]:
    """Check that each POST answered 200 has its own row with the exact bytes, and that rows are not
    more than POSTs. Return the sent body of each row."""
    by_digest = {sha256(entry.webhook.body).digest(): entry.webhook for entry in posted}
    posts, accepted, rows = Counter[bytes](), Counter[bytes](), Counter[bytes]()
    for entry in posted:
        posts[entry.webhook.body] += entry.posts
        accepted[entry.webhook.body] += entry.accepted
    bodies: dict[UUID, bytes] = {}
    for row in stored.webhooks:
        digest = row.digest if row.body.plain is None else sha256(row.body.plain).digest()
        webhook = by_digest.get(digest) or by_digest.get(row.digest)
        if webhook is None:
            ledger.find("webhook never sent")
            continue
        bodies[row.id] = webhook.body
        rows[webhook.body] += 1
        _check_row(ledger, row, webhook.body)
        _check_state(ledger, row, is_json=bool(webhook.changes))
    ledger.find("webhook lost", (accepted - rows).total())
    ledger.find("webhook doubled", (rows - posts).total())
    _check_counts(ledger, stored)
    return bodies


def _check_row(ledger: Ledger, row: StoredWebhook, body: bytes) -> None:
    if row.body.is_unopenable:
        ledger.find("body cannot be opened")
    elif row.body.plain is None:
        ledger.find("body lost")
    elif row.body.plain != body:
        ledger.find("body changed")
    if row.digest != sha256(body).digest():
        ledger.find("digest changed")


def _check_state(ledger: Ledger, row: StoredWebhook, *, is_json: bool) -> None:
    if row.state == "unsplit":
        ledger.find("webhook not split")
    elif row.state != ("split" if is_json else "dead"):
        ledger.find("webhook in a wrong state")
    elif row.state == "dead":
        ledger.dead += 1


def _check_counts(ledger: Ledger, stored: Stored) -> None:
    """Check the count of open changes, and that a webhook without any is processed."""
    open_changes: defaultdict[UUID, int] = defaultdict(int)
    for change in stored.changes:
        open_changes[change.webhook_id] += change.state in _OPEN
    for row in stored.webhooks:
        if row.changes_left != open_changes[row.id]:
            ledger.find("count of open changes wrong")
        if row.processed != (row.state == "split" and not open_changes[row.id]):
            ledger.find("processed wrong")
