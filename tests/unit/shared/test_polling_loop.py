"""A loop says once that a server stopped it, and when it works again."""

from collections.abc import Iterator

from structlog.testing import capture_logs

from shared.polling_loop import PollingLoop
from shared.store.errors import NotConnected


async def test_a_lost_server_is_logged_once_and_its_return_too() -> None:
    errors: Iterator[Exception | None] = iter(
        [NotConnected("a"), ConnectionResetError("b"), TimeoutError(), None, None]
    )

    async def work() -> bool:
        error = next(errors, None)
        if error is not None:
            raise error
        loop.stop()
        return False

    loop = PollingLoop("change", work, seconds=0.001)
    with capture_logs() as lines:
        await loop.run()
    assert [(line["event"], line["kind"], line.get("reason")) for line in lines] == [
        ("loop.interrupted", "change", "lost"),
        ("loop.resumed", "change", None),
    ]
