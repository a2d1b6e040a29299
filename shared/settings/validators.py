"""Validators of environment variables. Each raises ValueError if the value is malformed."""

import re
from itertools import pairwise
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from shared.process import crash_points


def url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
            raise ValueError  # `parts.port` raises it too, if the port is no number
        return value

    return AfterValidator(check)


def secret(pattern: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not re.fullmatch(pattern, value.get_secret_value()):
            raise ValueError
        return value

    return AfterValidator(check)


def strong_key(value: SecretStr) -> SecretStr:
    """Return 64 hex characters that look random. Refuse few different bytes or a plain sequence."""
    raw = bytes.fromhex(value.get_secret_value())
    steps = {(b - a) % 256 for a, b in pairwise(raw)}
    if len(raw) != 32 or len(set(raw)) < 12 or len(steps) < 6:
        raise ValueError
    return value


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


#: A list in one variable, separated by commas; pydantic-settings alone would read JSON.
COMMA_SEPARATED = (NoDecode, BeforeValidator(_split))


def same_id(value: str, alias: object) -> str:
    """Return the id that either variable holds. Raise ValueError if it is no id or they differ."""
    id_ = value or alias
    if not id_:
        raise PydanticCustomError("missing", "both variables are unset")
    if not isinstance(id_, str) or not re.fullmatch(r"[0-9]{1,20}", id_):
        raise ValueError
    if alias and alias != id_:
        raise ValueError
    return id_


def rising(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or list(value) != sorted(set(value)) or value[0] < 1:
        raise ValueError
    return value


def valid_crash_at(value: str) -> str:
    if not crash_points.FORM.fullmatch(value):
        raise ValueError
    return value


def zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError
    return value
