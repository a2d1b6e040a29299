"""What the sender of a storm expects, and what our code makes of the same bodies, are the same."""

import random

import pytest

from deploy.local.oracle import bodies
from deploy.local.oracle.bodies import Bodies
from deploy.local.oracle.expected import ExpectedChange
from shared.domain.exact_json import Unparsable
from shared.domain.splitting import Change, split

COUNT = 2_000


def columns(change: Change | ExpectedChange) -> tuple[object, ...]:
    return (change.content, change.field, change.event, change.waba_id, change.phone_number_id)


def test_each_body_is_split_as_its_sender_expects() -> None:
    made = Bodies(bodies.connections(), random.Random(1))
    people = set()
    broken = 0
    for webhook in map(made.make, range(COUNT)):
        if not webhook.changes:
            broken += 1
            with pytest.raises(Unparsable):
                split(webhook.body)
            continue
        changes = split(webhook.body)
        assert [*map(columns, changes)] == [*map(columns, webhook.changes)]
        people |= {
            (min(change.people, default=None), expected.person)
            for change, expected in zip(changes, webhook.changes, strict=True)
        }
    assert 0 < broken < COUNT
    assert len({subject for subject, _ in people}) == len({person for _, person in people})
    assert all(subject == person for subject, person in people)


def test_the_same_seed_makes_the_same_bodies() -> None:
    first, second = (Bodies(bodies.connections(), random.Random(7)) for _ in range(2))

    assert [first.make(n) for n in range(100)] == [second.make(n) for n in range(100)]
