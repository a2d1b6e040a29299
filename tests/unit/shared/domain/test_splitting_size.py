"""The size of the changes and the work to split them grow in proportion to the batch."""

import sys

import orjson

from shared.domain.splitting import split
from tests.support.splits import with_value


def batch(size: int) -> bytes:
    people = [f"55119{number:08d}" for number in range(size)]
    value = {
        "contacts": [{"wa_id": p, "profile": {"name": f"Person {p}"}} for p in people],
        "messages": [{"from": p, "id": f"wamid.{p}", "type": "text"} for p in people],
    }
    return orjson.dumps(with_value(value))


def calls_to_split(body: bytes) -> int:
    """Count the function calls of split(): a measure of work that no machine's speed changes."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        split(body)
    finally:
        sys.setprofile(None)
    return calls


def test_the_changes_of_a_thousand_messages_do_not_grow_quadratically() -> None:
    body = batch(1000)

    changes = split(body)

    assert len(changes) == 1000
    assert all(change.content.count(b"Person ") == 1 for change in changes)
    assert sum(len(change.content) for change in changes) < 3 * len(body)


def test_four_times_the_batch_is_about_four_times_the_work() -> None:
    assert calls_to_split(batch(400)) < 6 * calls_to_split(batch(100))
