"""The demo's scenes: what is sent, and what has to become of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.local.demo import bodies
from deploy.local.demo.bodies import BROKEN, partner_added, status, text
from deploy.local.simulated_meta.writing import Signature, batched, write

BURST = 300


@dataclass(frozen=True, slots=True)
class Scene:
    """Every POST is answered `answer`; then `at_rest` says of each how it ended (None: no row),
    and exactly `new_changes` were added."""

    title: str
    posts: Sequence[bytes]
    expected: str
    new_changes: int
    answer: int = 200
    signature: Signature = "right"
    at_rest: str | None = "processed"


def _reordered(body: bytes) -> bytes:
    """The same JSON value in other bytes: keys the other way round, spaces between."""
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
        Scene("a customer's client writes", [hello], "stored", 1),
        Scene(
            "our answer is sent, delivered, read",
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
            "the same message three times more, once with its JSON reordered",
            [hello, hello, _reordered(hello)],
            "nothing new",
            0,
        ),
        Scene(
            "a field nobody has heard of",
            [write(bodies.account("tea_temperature_update", celsius=80))],
            "kept",
            1,
        ),
        Scene("a forged signature", [hello], "refused", 0, 401, "wrong", None),
        Scene("the SHA-1 signature alone", [hello], "refused", 0, 401, "sha1", None),
        Scene("no signature", [hello], "refused", 0, 401, "missing", None),
        Scene(
            f"signed, but broken: {', '.join(BROKEN)}",
            list(BROKEN.values()),
            "kept as dead, bytes and all",
            0,
            at_rest="dead",
        ),
        Scene(
            f"a burst of {BURST} messages",
            [write(text(1000 + n)) for n in range(BURST)],
            "all stored",
            BURST,
        ),
    ]
