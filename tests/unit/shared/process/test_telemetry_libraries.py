"""Log lines of libraries: their template at most, never its arguments."""

import logging
from io import StringIO

import pytest
import structlog
from _pytest.logging import LogCaptureHandler

from tests.support.logs import CANARY, Logged

library = logging.getLogger("some.library")
log = structlog.get_logger()


@pytest.fixture
def _without_pytests_own_handlers(stdout: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence pytest's log handlers: they raise where logging's own would print to stderr."""
    monkeypatch.setattr(LogCaptureHandler, "emit", lambda *_: None)


def test_a_librarys_line_keeps_its_template_and_loses_its_arguments(logged: Logged) -> None:
    library.warning("could not reach %s", CANARY)

    [line] = logged()

    assert line["event"] == "could not reach %s"
    assert line["logger"] == "some.library"
    assert "test_telemetry_libraries.py" in line["where"]


def test_a_librarys_line_that_is_already_formatted_is_not_shown(logged: Logged) -> None:
    library.warning(f"could not reach {CANARY}")

    [line] = logged()

    assert line["event"] == "library.logged"


def test_a_librarys_exception_is_shown_as_its_type_and_place(logged: Logged) -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        library.exception("failed for %s", CANARY, stack_info=True)

    [line] = logged()

    assert line["error"] == "builtins.ValueError"


def test_extra_values_of_a_library_are_not_shown(logged: Logged) -> None:
    library.warning({"token": CANARY}, extra={"token": CANARY, "reason": CANARY})

    assert len(logged()) == 1


@pytest.mark.usefixtures("_without_pytests_own_handlers")
def test_a_librarys_line_that_does_not_fit_its_arguments_leaks_nothing(logged: Logged) -> None:
    library.warning("%d of %s", CANARY)

    logged()


@pytest.mark.usefixtures("_without_pytests_own_handlers")
def test_an_event_that_cannot_be_written_leaks_nothing(logged: Logged) -> None:
    log.info("webhook.dead", reason="\ud83d", token=CANARY)

    logged()


def test_debug_lines_and_the_amqp_drivers_lines_are_left_out(logged: Logged) -> None:
    log.debug("ours")
    library.debug("theirs")
    logging.getLogger("aiormq.connection").error("connection lost")

    assert logged() == []
