"""Fixtures for the tests of the shared modules: health, logs, and no hard exit."""

import faulthandler
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import orjson
import pytest
import structlog
from prometheus_client import CollectorRegistry
from pytest import CaptureFixture

from shared.process import telemetry
from shared.process.health import Health
from tests.support.logs import CANARY, Logged


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def health(registry: CollectorRegistry) -> Health:
    return Health(registry)


@pytest.fixture(autouse=True)
def _no_hard_exit() -> Iterator[None]:
    """Disarm the timer that a set Stop starts: it would end pytest's own process."""
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def stdout() -> Iterator[StringIO]:
    """Configure telemetry as in a service, for one test. Yield its stdout."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    library_levels = {name: logging.getLogger(name).level for name in ("aio_pika", "aiormq")}
    raise_exceptions = logging.raiseExceptions
    with redirect_stdout(StringIO()) as stdout:
        telemetry.configure("ingress")
    yield stdout
    structlog.reset_defaults()
    logging.raiseExceptions = raise_exceptions
    root.handlers = handlers
    root.setLevel(level)
    for name, library_level in library_levels.items():
        logging.getLogger(name).setLevel(library_level)


@pytest.fixture
def logged(stdout: StringIO, capsys: CaptureFixture[str]) -> Logged:
    """Return a function that reads stdout, one dict a line.

    It fails if stdout has the canary or anything reached stderr.
    """

    def read() -> list[dict[str, Any]]:
        assert CANARY not in stdout.getvalue()
        assert capsys.readouterr() == ("", "")
        return [dict(orjson.loads(line)) for line in stdout.getvalue().splitlines()]

    return read
