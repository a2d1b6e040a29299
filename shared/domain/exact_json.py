"""JSON that we can store exactly: read strictly, and as far as possible where that fails."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic_core import from_json

#: What a number that is too large for a double has: an exponent of three digits, or 309 digits.
_HUGE_NUMBER = re.compile(rb"[0-9.][eE]\+?[0-9]{3}|[0-9]{309}")
#: What is raised for JSON that is broken, or that cannot be stored exactly.
FAULTS: Final = (ValueError, TypeError, RecursionError)


class Unparsable(Exception):
    """The bytes are not JSON that we can store exactly. The text says why and quotes no content."""

    code = "unparsable"


@dataclass(frozen=True, slots=True)
class _Fraction:
    """A number with a fraction or an exponent, as it was written. It is as true as its value."""

    text: str

    def __bool__(self) -> bool:
        return bool(float(self.text))


def parse(body: bytes) -> Any:
    """Return the JSON value of `body`. Raise one of FAULTS.

    A number that is too large stays one that `canonical` or `refuse_infinity` refuses: unlike
    orjson, from_json keeps an integer of more than 64 bits.
    """
    return from_json(body, allow_inf_nan=False, cache_strings="keys")


def parse_faulty(body: bytes) -> tuple[Any, Any]:
    """Return the JSON value of a body in which a text or number cannot be stored exactly.

    Return it twice: as `parse` would, and as `escaped` writes it exactly. Raise one of FAULTS if
    the body is broken as a whole.
    """
    text = body.decode()
    value = json.loads(text, parse_constant=_refuse)
    return value, json.loads(text, parse_float=_Fraction)


def canonical(value: Any) -> bytes:
    """Return the one JSON text of the value, its keys sorted. Raise one of FAULTS."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def escaped(value: Any) -> bytes:
    """Return JSON of a value of `parse_faulty`: half a character stays an escape, and each number
    has all its digits."""
    return _escaped(value).encode("ascii")


def read_content(content: bytes) -> Any:
    """Return what `canonical` wrote. Raise Unparsable for what it cannot have written."""
    try:
        value = orjson.loads(content)
        if canonical(value) != content:
            raise ValueError("number out of range")
    except FAULTS as error:
        raise Unparsable(reason(error)) from None
    return value


def may_hold_huge_number(body: bytes) -> bool:
    return _HUGE_NUMBER.search(body) is not None


def refuse_infinity(value: Any) -> None:
    """Raise ValueError if a number was too large for a double: `canonical` would write null."""
    if _contains_infinity(value):
        raise ValueError("number out of range")


def reason(error: Exception) -> str:
    """Return why JSON was refused, without its content."""
    text = str(error)
    for fragment, why in (
        ("ecursion", "nested too deeply"),
        ("64-bit", "a number too large to hold exactly"),
        ("number out of range", "a number too large to hold exactly"),
        ("integer string conversion", "a number too large to hold exactly"),
        ("surrogate", "a lone surrogate"),
        ("hex escape", "a lone surrogate"),
        ("unicode", "not valid UTF-8"),
        ("control character", "a raw control character"),
    ):
        if fragment in text:
            return why
    return "not valid JSON"


def _contains_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_contains_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_contains_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _escaped(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)}:{_escaped(value[name])}" for name in sorted(value))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_escaped, value)) + "]"
    return value.text if isinstance(value, _Fraction) else json.dumps(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")
