"""The demo's first part: what is sent, and how it must end."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.local.demo import bodies
from deploy.local.demo.bodies import BROKEN, partner_added, status, text
from deploy.local.simulated_meta.writing import Signature, batched, write

BURST = 300


@dataclass(frozen=True, slots=True)
class Scene:
    """Some POSTs and what they must lead to.

    Every POST is answered with the status `answer`. Every webhook ends in `end_state` (None: it has
    no row). Exactly `new_changes` are added.
    """

    title: str
    posts: Sequence[bytes]
    expected: str
    new_changes: int
    answer: int = 200
    signature: Signature = "right"
    end_state: str | None = "processed"


def _reordered(body: bytes) -> bytes:
    """Return the same JSON value as other bytes: keys in reverse order, with spaces."""
    return json.dumps(dict(reversed(json.loads(body).items())), indent=1).encode()


def scenes() -> list[Scene]:
    hello = write(text(1))
    account_updates = [
        bodies.account("account_review_update", decision="APPROVED"),
        bodies.account("account_update", event="ACCOUNT_OFFBOARDED"),
        bodies.account("account_update", event="ACCOUNT_RECONNECTED"),
        bodies.account(
            "phone_number_quality_update",
            display_phone_number="15550001111",
            event="ONBOARDING",
            current_limit="TIER_250",
        ),
    ]
    return [
        Scene("a customer shares a WABA with us", [write(partner_added())], "stored", 1),
        Scene("a person writes to a customer", [hello], "stored", 1),
        Scene(
            "the answer is sent, delivered, read",
            [write(status(1, state)) for state in ("sent", "delivered", "read")],
            "three changes",
            3,
        ),
        Scene(
            "account and number updates",
            [write(body) for body in account_updates],
            "stored",
            len(account_updates),
        ),
        Scene(
            "one POST with 40 notifications",
            [write(body) for body in batched([text(100 + n) for n in range(40)], 40)],
            "split into 40 changes",
            40,
        ),
        Scene(
            "the same message three more times, once with its JSON reordered",
            [hello, hello, _reordered(hello)],
            "nothing new",
            0,
        ),
        Scene(
            "a field that Porteiro does not know",
            [write(bodies.account("tea_temperature_update", celsius=80))],
            "stored",
            1,
        ),
        Scene("a forged signature", [hello], "refused", 0, 401, "wrong", None),
        Scene("only the old SHA-1 signature", [hello], "refused", 0, 401, "sha1", None),
        Scene("no signature", [hello], "refused", 0, 401, "missing", None),
        Scene(
            f"rightly signed, but broken: {', '.join(BROKEN)}",
            list(BROKEN.values()),
            "dead, bytes unchanged",
            0,
            end_state="dead",
        ),
        Scene(
            f"a burst of {BURST} messages",
            [write(text(1000 + n)) for n in range(BURST)],
            "all stored",
            BURST,
        ),
    ]
