"""What a variable of the environment must look like: each raises ValueError where it does not."""

import re
from itertools import pairwise
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from shared.process import crash_points


def url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
            raise ValueError  # as `parts.port` does where the port is no number
        return value

    return AfterValidator(check)


def secret(pattern: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not re.fullmatch(pattern, value.get_secret_value()):
            raise ValueError
        return value

    return AfterValidator(check)


def strong_key(value: SecretStr) -> SecretStr:
    """64 hex characters that look random: few different bytes, or a plain run, are no key."""
    raw = bytes.fromhex(value.get_secret_value())
    steps = {(b - a) % 256 for a, b in pairwise(raw)}
    if len(raw) != 32 or len(set(raw)) < 12 or len(steps) < 6:
        raise ValueError
    return value


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


#: A list in one variable: pydantic-settings would read it as JSON, people write commas.
COMMA_SEPARATED = (NoDecode, BeforeValidator(_split))


def same_id(value: str, alias: object) -> str:
    """The id under either name. Raises ValueError where it is no id, or the two differ."""
    found = value or alias
    if not found:
        raise PydanticCustomError("missing", "under neither name")
    if not isinstance(found, str) or not re.fullmatch(r"[0-9]{1,20}", found):
        raise ValueError
    if alias and alias != found:
        raise ValueError
    return found


def rising(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or list(value) != sorted(set(value)) or value[0] < 1:
        raise ValueError
    return value


def crash_place(value: str) -> str:
    if not crash_points.FORM.fullmatch(value):
        raise ValueError
    return value
