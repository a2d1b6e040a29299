"""What the tests of the shared modules have in common: health, logs, and no hard exit."""

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
    """A Stop that is set lets the process end soon; here the process is pytest."""
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def stdout() -> Iterator[StringIO]:
    """Telemetry as a service has it, for one test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    chatty = {name: logging.getLogger(name).level for name in ("aio_pika", "aiormq")}
    raises = logging.raiseExceptions
    with redirect_stdout(StringIO()) as stdout:
        telemetry.configure("ingress")
    yield stdout
    structlog.reset_defaults()
    logging.raiseExceptions = raises
    root.handlers = handlers
    root.setLevel(level)
    for name, before in chatty.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
def logged(stdout: StringIO, capsys: CaptureFixture[str]) -> Logged:
    """What reached stdout, a dict a line; fails if the canary is anywhere or stderr was used."""

    def read() -> list[dict[str, Any]]:
        assert CANARY not in stdout.getvalue()
        assert capsys.readouterr() == ("", "")
        return [dict(orjson.loads(line)) for line in stdout.getvalue().splitlines()]

    return read
