"""Structured logs without secrets: only known keys pass, and only plain short values."""

import logging
import math
import shutil
import sys
import textwrap
import time
from types import TracebackType
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

#: The only keys whose values are logged. They hold ids, numbers and our own words; never a body, a
#: token, a signature or the text of a library's exception.
ALLOWED_KEYS = frozenset(
    """
    event level timestamp logger service error cause where sqlstate fault
    webhook_id change_id waba_id organization_id kind field lane stored_via
    state reason dependency queue attempt attempts count changes seconds port environment
    revision pid
    replay_id event_id fingerprint outcome done skipped total key_id newest gone_at
    onboarding_id follow_up_id row_id address letter_id letter_ids backup
    job day days step path code subcode request_id
    """.split()
)
MAX_VALUE_CHARS = 300
#: How often the stack of one cause is logged.
STACK_SECONDS = 60.0
#: How many causes are remembered.
MAX_CAUSES = 1000
REDACTED = "[redacted]"
_NOT_ON_A_TERMINAL = ("timestamp", "level", "event", "service", "logger", "where")


def configure(service: str, level: int = logging.INFO) -> None:
    """Write every log line of `level` or above, ours and the libraries', to stdout.

    A line is one JSON object; on a terminal the time, the event and the values, without the stack.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            pass_foreign_args=True,
            processors=[
                _describe_exception,
                _OneStackAMinute(),
                _drop_arguments,
                _add_service(service),
                redact,
                _render_words if sys.stdout.isatty() else _render,
            ],
        )
    )
    logging.raiseExceptions = False  # else a failed write prints the line to stderr unredacted
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for library in ("aio_pika", "aiormq"):  # we log a lost broker ourselves, once per change
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # we log each migration ourselves


def redact(_: Any, __: str, event: EventDict) -> EventDict:
    """Keep known keys, with plain values. Replace the value of any other key by `[redacted]`."""
    return {
        key: _to_plain(value) if key in ALLOWED_KEYS else REDACTED for key, value in event.items()
    }


def _to_plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    return str(value)[:MAX_VALUE_CHARS]


def _describe_exception(_: Any, __: str, event: EventDict) -> EventDict:
    """Log an exception's type and where it was raised, not its text, which may quote a secret."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = f"{type(error).__module__}.{type(error).__qualname__}"
        event["where"] = _frames(error.__traceback__)
        cause = error.__cause__
        event["sqlstate"] = getattr(error, "sqlstate", None) or getattr(cause, "sqlstate", None)
        if cause is not None:
            event["cause"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return event


class _OneStackAMinute:
    """Log where an error was raised once a minute for each cause. Each line stays, without it."""

    def __init__(self) -> None:
        self._last: dict[tuple[object, ...], float] = {}

    def __call__(self, _: Any, __: str, event: EventDict) -> EventDict:
        where = event.get("where")
        if not isinstance(where, list) or not where:
            return event
        cause = (event.get("event"), event.get("error"), where[-1])
        now = time.monotonic()
        if now < self._last.get(cause, -math.inf) + STACK_SECONDS:
            event["where"] = where[-1]
            return event
        if len(self._last) >= MAX_CAUSES:
            self._last.clear()
        self._last[cause] = now
        return event


def _frames(traceback: TracebackType | None, limit: int = 12) -> list[str]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-limit:]


def _drop_arguments(_: Any, __: str, event: EventDict) -> EventDict:
    """Keep only the format string of a library's line, not its arguments.

    A line without arguments may already be formatted, so its text is dropped whole.
    """
    record: logging.LogRecord = event.pop("_record")
    from_structlog = event.pop("_from_structlog")
    arguments = event.pop("positional_args", None)
    if not from_structlog:
        event["event"] = str(record.msg) if arguments else "library.logged"
        event.setdefault("where", f"{record.pathname}:{record.lineno}")
    return event


def _add_service(service: str) -> Processor:
    def add(_: Any, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _render_words(_: Any, __: str, event: EventDict) -> str:
    names = [name for name in event if name not in _NOT_ON_A_TERMINAL]
    values = " ".join(f"{name}={event[name]}" for name in names)
    level = "" if event["level"] == "info" else f"{event['level']}: "
    return textwrap.fill(
        f"{str(event['timestamp'])[11:19]} {level}{event['event']} {values}".rstrip(),
        shutil.get_terminal_size((80, 24)).columns,
        subsequent_indent=" " * 9,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _render(_: Any, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()
