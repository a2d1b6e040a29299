"""The guard reports only a change that is larger than the difference between equal runs."""

import pytest

from bench.verdict import MIN_RESOLUTION, Compared, Recorded, compare, summarize


def test_the_median_and_the_spread_of_the_runs_are_recorded() -> None:
    runs = [{"cpu": value} for value in (100.0, 104.0, 98.0)]

    assert summarize(runs) == {"cpu": Recorded(100.0, 0.06)}


@pytest.mark.parametrize(
    ("now", "is_dearer", "is_cheaper"),
    [(100.0, False, False), (102.9, False, False), (103.1, True, False), (96.9, False, True)],
)
def test_only_a_change_past_the_resolution_is_a_verdict(
    now: float,
    is_dearer: bool,
    is_cheaper: bool,
) -> None:
    compared = Compared("cpu", Recorded(100.0, 0.02), now)

    assert (compared.is_dearer, compared.is_cheaper) == (is_dearer, is_cheaper)


def test_equal_runs_still_leave_room_for_chance() -> None:
    assert Recorded(100.0, 0.0).resolution == MIN_RESOLUTION


def test_a_figure_that_was_never_recorded_does_not_pass() -> None:
    with pytest.raises(KeyError, match="wal"):
        compare({"cpu": Recorded(1.0, 0.0)}, {"cpu": 1.0, "wal": 1.0})


def test_fewer_events_are_no_saving() -> None:
    compared = Compared("processor: events", Recorded(0.5, 0.0), 0.25)

    assert (compared.is_dearer, compared.is_cheaper) == (True, False)


def test_a_figure_of_zero_cannot_be_recorded() -> None:
    with pytest.raises(ValueError, match="cpu"):
        summarize([{"cpu": 0.0}])
