"""Read a process's settings from its environment."""

import re
from typing import TypeVar

from pydantic import SecretStr, ValidationError

from shared.errors import StartupRefused
from shared.settings.groups import Environment, Settings
from shared.settings.transport import insecure_urls

PLACEHOLDER = re.compile(
    r"change.?me|example|placeholder|your[-_ ]|x{6}|^test|dummy", re.IGNORECASE
)


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """Read `settings` from the environment.

    Raise StartupRefused with one fault for each variable that is missing or malformed or, in
    production, a placeholder or insecure. A fault says the name and what is expected, never the
    value.
    """
    try:
        loaded = settings()
    except ValidationError as error:
        raise StartupRefused(
            sorted({_fault(settings, e["loc"], e["type"]) for e in error.errors()})
        ) from None
    if loaded.environment is Environment.PRODUCTION:
        _refuse_in_production(loaded)
    return loaded


def _fault(settings: type[Settings], loc: tuple[int | str, ...], kind: str) -> str:
    field = str(loc[0])
    problem = "is missing" if kind == "missing" else "is malformed"
    return f"{field.upper()} {problem}: expected {settings.model_fields[field].description}"


def _refuse_in_production(settings: Settings) -> None:
    faults = []
    if settings.crash_at:
        faults.append("CRASH_AT is set: production must not crash on purpose")
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        secrets = value if isinstance(value, tuple) else (value,)
        texts = [s.get_secret_value() for s in secrets if isinstance(s, SecretStr)]
        if any(PLACEHOLDER.search(text) for text in texts):
            faults.append(f"{field.upper()} is a placeholder: production needs the real value")
    faults += insecure_urls(settings)
    if faults:
        raise StartupRefused(faults)
