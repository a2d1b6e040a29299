"""The guard's verdict: past what runs differ anyway, and not before."""

import pytest

from bench.verdict import MIN_RESOLUTION, Compared, Recorded, compare, summarize


def test_what_is_recorded_is_the_median_and_how_far_runs_were_apart() -> None:
    runs = [{"cpu": value} for value in (100.0, 104.0, 98.0)]

    assert summarize(runs) == {"cpu": Recorded(100.0, 0.06)}


@pytest.mark.parametrize(
    ("now", "is_dearer", "is_cheaper"),
    [(100.0, False, False), (102.9, False, False), (103.1, True, False), (96.9, False, True)],
)
def test_only_a_change_past_the_resolution_is_a_verdict(
    now: float,
    is_dearer: bool,  # noqa: FBT001
    is_cheaper: bool,  # noqa: FBT001
) -> None:
    one = Compared("cpu", Recorded(100.0, 0.02), now)

    assert (one.is_dearer, one.is_cheaper) == (is_dearer, is_cheaper)


def test_runs_that_were_all_alike_still_leave_room_for_chance() -> None:
    assert Recorded(100.0, 0.0).resolution == MIN_RESOLUTION


def test_a_figure_that_was_never_recorded_is_no_pass() -> None:
    with pytest.raises(KeyError, match="wal"):
        compare({"cpu": Recorded(1.0, 0.0)}, {"cpu": 1.0, "wal": 1.0})
