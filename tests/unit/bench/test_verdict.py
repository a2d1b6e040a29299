"""The guard reports only a change that is larger than the difference between equal runs."""

import pytest

from bench.verdict import MIN_RESOLUTION, Compared, Measured, compare, summarize


def measured(value: float, spread: float = 0.0) -> Measured:
    return Measured(value, spread)


def test_the_median_and_the_spread_of_the_runs_count() -> None:
    runs = [{"cpu": value} for value in (100.0, 104.0, 98.0)]

    assert summarize(runs) == {"cpu": Measured(100.0, 0.06)}


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (100.0, "the same"),
        (102.9, "the same"),
        (103.1, "MORE EXPENSIVE"),
        (96.9, "cheaper"),
    ],
)
@pytest.mark.parametrize("spreads", [(0.02, 0.0), (0.0, 0.02), (0.02, 0.01)])
def test_only_a_change_past_the_resolution_is_a_verdict(
    now: float, verdict: str, spreads: tuple[float, float]
) -> None:
    before, after = spreads

    assert Compared("cpu", measured(100.0, before), measured(now, after)).verdict == verdict


def test_equal_runs_still_leave_room_for_chance() -> None:
    assert Compared("cpu", measured(100.0), measured(100.0)).resolution == MIN_RESOLUTION


def test_runs_that_differ_too_much_tell_nothing_but_a_large_rise() -> None:
    noisy = measured(100.0, 0.2)

    assert Compared("cpu", noisy, measured(110.0)).verdict == "CANNOT TELL"
    assert Compared("cpu", noisy, measured(131.0)).verdict == "MORE EXPENSIVE"


def test_a_figure_of_one_version_only_does_not_pass() -> None:
    with pytest.raises(KeyError, match="wal"):
        compare({"cpu": measured(1.0)}, {"cpu": measured(1.0), "wal": measured(1.0)})


def test_fewer_events_are_no_saving() -> None:
    compared = Compared("processor: events", measured(0.5), measured(0.25))

    assert compared.verdict == "MORE EXPENSIVE"


def test_a_figure_of_zero_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cpu"):
        summarize([{"cpu": 0.0}])
