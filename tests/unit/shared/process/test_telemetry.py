"""Our logs: one JSON object a line, our own keys only, exceptions as their type and place."""

import logging
from contextlib import redirect_stdout
from io import StringIO
from uuid import UUID

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from shared.process import telemetry
from tests.support.logs import CANARY, Logged

log = structlog.get_logger()


def raise_canary() -> None:
    raise ValueError(f"could not parse {CANARY}")


def test_our_own_keys_reach_the_log(logged: Logged) -> None:
    log.info("change.dead", waba_id="7314", attempt=3, webhook_id=UUID(int=7))

    [line] = logged()

    assert line["event"] == "change.dead"
    assert (line["waba_id"], line["attempt"]) == ("7314", 3)
    assert line["webhook_id"] == "00000000-0000-0000-0000-000000000007"
    assert (line["level"], line["service"]) == ("info", "ingress")
    assert line["timestamp"].endswith("Z")


def test_each_line_within_a_request_has_its_id_a_librarys_too(logged: Logged) -> None:
    with bound_contextvars(request_id="theirs-1"):
        log.info("change.dead")
        logging.getLogger("some.library").warning("lost %s", CANARY)
    log.info("change.dead")

    assert [line.get("request_id") for line in logged()] == ["theirs-1", "theirs-1", None]


def test_each_event_is_one_object_on_one_line(logged: Logged) -> None:
    log.info("first\nline", reason='a "quote"\nand a line')
    log.warning("second")

    assert [line["event"] for line in logged()] == ["first\nline", "second"]


@pytest.mark.parametrize("key", ["body", "token", "signature", "password", "event_", "Field"])
def test_a_value_under_any_other_key_is_redacted(key: str, logged: Logged) -> None:
    log.info("webhook.received", **{key: CANARY})

    [line] = logged()

    assert line[key] == telemetry.REDACTED


def test_an_exception_is_shown_as_its_type_and_place(logged: Logged) -> None:
    try:
        raise_canary()
    except ValueError:
        log.exception("webhook.not_split")

    [line] = logged()

    assert line["error"] == "builtins.ValueError"
    assert line["where"][-1].endswith(" raise_canary")
    assert "test_telemetry.py" in line["where"][0]


def test_a_person_at_a_terminal_reads_text_that_shows_no_more(
    stdout: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    with redirect_stdout(stdout):
        telemetry.configure("ingress")
    log.info("webhook.received", body=CANARY, waba_id="7314")

    line = stdout.getvalue()

    assert "webhook.received" in line
    assert "7314" in line
    assert CANARY not in line


def test_an_exception_passed_as_an_argument_is_shown_the_same_way(logged: Logged) -> None:
    log.warning("group.failed", exc_info=KeyError(CANARY))

    [line] = logged()

    assert line["error"] == "builtins.KeyError"


def test_an_error_of_postgresql_shows_its_code(logged: Logged) -> None:
    error = ValueError(CANARY)
    error.sqlstate = "40P01"  # type: ignore[attr-defined]
    log.warning("group.failed", exc_info=error)

    assert logged()[0]["sqlstate"] == "40P01"


def test_an_event_without_its_exception_is_logged_all_the_same(logged: Logged) -> None:
    log.error("no.exception", exc_info=True)

    assert logged()[0]["event"] == "no.exception"


def test_a_long_value_is_cut(logged: Logged) -> None:
    log.info("webhook.dead", reason="x" * 10_000, changes=["y" * 10_000])

    [line] = logged()

    assert len(line["reason"]) == len(line["changes"][0]) == telemetry.MAX_VALUE_CHARS
