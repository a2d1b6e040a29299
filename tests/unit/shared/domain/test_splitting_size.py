"""The size of the changes and the work to split them grow in proportion to the batch."""

import sys
from hashlib import sha256
from typing import Any

import orjson
import pytest
from pytest import MonkeyPatch

from shared.domain import splitting
from shared.domain.fields import DESCRIBED
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


@pytest.mark.parametrize("field", sorted(name for name, each in DESCRIBED.items() if each.lists))
def test_what_is_written_and_hashed_of_a_batch_is_a_few_times_its_size(
    field: str, monkeypatch: MonkeyPatch
) -> None:
    written: list[int] = []

    def canonical(value: object) -> bytes:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        written.append(len(text))
        return text

    def hashed(text: bytes) -> Any:
        written.append(len(text))
        return sha256(text)

    monkeypatch.setattr(splitting, "canonical", canonical)
    monkeypatch.setattr(splitting, "sha256", hashed)
    items = [{"id": f"wamid.{number}", "text": "x" * 200} for number in range(1000)]
    body = orjson.dumps(with_value({DESCRIBED[field].lists[0]: items}, field))
    assert len(split(body)) == 1000
    assert sum(written) < 6 * len(body)


def test_four_times_the_batch_is_about_four_times_the_work() -> None:
    assert calls_to_split(batch(400)) < 6 * calls_to_split(batch(100))
