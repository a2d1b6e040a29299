"""What follows when a step of a setup failed, and how long a sync waits."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.graph_errors import (
    CustomerMustAct,
    MetaRefused,
    MetaThrottled,
    MetaUnavailable,
    RegisterUnanswered,
)
from shared.domain.numbers import PATIENCE
from shared.domain.provisioning import (
    SYNC_ANYWAY,
    Blocked,
    RetryLater,
    after_failure,
    webhooks_arrive,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("webhook_at", "now", "expected"),
    [
        (None, NOW, False),
        (NOW - timedelta(hours=1), NOW, True),
        (NOW - timedelta(days=2), NOW, False),
        (None, NOW + SYNC_ANYWAY + timedelta(seconds=1), True),
    ],
)
def test_a_sync_waits_for_a_webhook_but_not_past_metas_window(
    webhook_at: datetime | None,
    now: datetime,
    expected: bool,
) -> None:
    assert webhooks_arrive(webhook_at, NOW, now) is expected
    assert timedelta(hours=24) - SYNC_ANYWAY > timedelta(hours=1)


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        (MetaThrottled(77), 9, RetryLater(77, is_counted=False)),
        (CustomerMustAct("reconnect"), 1, Blocked("reconnect")),
        (MetaRefused("bad_request"), 1, Blocked("bad_request")),
        (MetaUnavailable("meta_unavailable"), 2, RetryLater(300, is_counted=True)),
        (MetaUnavailable("meta_unavailable"), 4, RetryLater(1800, is_counted=False)),
        (RegisterUnanswered("meta_unavailable"), 3, RetryLater(1800, is_counted=True)),
        (RegisterUnanswered("meta_unavailable"), 4, Blocked("meta_unavailable")),
        (ValueError("secret"), 1, RetryLater(30, is_counted=True)),
        (ValueError("secret"), 4, Blocked("failed")),
    ],
)
def test_a_failure_is_waited_out_retried_or_blocked(
    error: Exception, attempt: int, expected: RetryLater | Blocked
) -> None:
    age = timedelta(hours=1)
    assert after_failure(error, attempt, (30, 300, 1800), age=age) == expected


def test_a_step_that_meta_keeps_failing_is_blocked_in_the_end() -> None:
    error = MetaUnavailable("meta_unavailable")
    after = after_failure(error, 4, (30, 300, 1800), age=PATIENCE)
    assert after == Blocked("meta_unavailable")
