"""Limit the requests of a caller at the same time."""

from services.console.http.concurrency import AT_ONCE, ConcurrencyLimit


def test_no_more_than_the_limit_at_the_same_time() -> None:
    at_once = ConcurrencyLimit()
    rooms = [at_once.admit("ana") for _ in range(AT_ONCE + 1)]
    assert [admit.__enter__() for admit in rooms] == [True] * AT_ONCE + [False]
    with at_once.admit("bia") as has_room:
        assert has_room
    rooms[-1].__exit__(None, None, None)
    rooms[0].__exit__(None, None, None)
    with at_once.admit("ana") as has_room:
        assert has_room
