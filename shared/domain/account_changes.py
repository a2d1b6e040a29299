"""What an account webhook tells of a WABA and its numbers, read tolerantly.

The events are those of Meta's account_update reference (April 2026), the fields its neighbours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.domain.facts import Fact, FactName, live_facts
from shared.domain.json_object import Json
from shared.domain.splitting import ID, NAME, as_id

#: Fields whose changes have effects; every other is kept without.
FIELDS = frozenset(
    "account_update account_review_update account_alerts business_capability_update"
    " phone_number_name_update phone_number_quality_update security"
    " history smb_app_state_sync".split()
)

#: The customer declined to share their chats (Meta's page of error codes).
_HISTORY_DECLINED = 2593109
_DIGITS = re.compile(r"[0-9]{5,20}", re.ASCII)


class UnreadableChange(Exception):
    """A change that must have an effect and cannot: the text says what is missing, never a value.

    Permanent: the same change will never be readable.
    """

    code = "unreadable_change"


@dataclass(frozen=True, slots=True)
class NumberRef:
    digits: str
    phone_number_id: str | None


@dataclass(frozen=True, slots=True)
class ChangeEffects:
    """What one change tells.

    `is_waba` is False where the id may be something else's: its facts wait until another change
    makes a connection of it.
    """

    waba_id: str
    facts: tuple[Fact, ...] = ()
    number: NumberRef | None = None
    tracking_code: str | None = None
    is_waba: bool = True


def read_change(change: Json, received_at: datetime) -> ChangeEffects | None:
    """What a change (its content, see splitting) tells; None where it has no effect.

    Raises Untellable.
    """
    field, entry, value = change.get("field"), change.get("entry"), change.get("value")
    if field not in FIELDS or not isinstance(value, dict) or not isinstance(entry, dict):
        return None
    at = _sent_at(entry.get("time"), received_at)
    if field == "account_update":
        return _account_update(entry, value, at)
    waba_id = as_id(entry.get("id"))
    if waba_id is None:  # Meta's page prints a declined history without its envelope
        return None
    number, facts = _number(field, value, at)
    facts += [Fact(name, told, at) for name, told in _plain_facts(field, value)]
    return ChangeEffects(waba_id, tuple(facts), number, is_waba=False)


def _account_update(entry: Json, value: Json, at: datetime) -> ChangeEffects | None:
    event = value.get("event")
    read = _EVENTS.get(event) if isinstance(event, str) else None
    if read is None:
        return None
    info = value.get("waba_info")
    info = info if isinstance(info, dict) else {}
    waba_id = as_id(info.get("waba_id")) if info else as_id(entry.get("id"))
    if waba_id is None:
        raise UnreadableChange("names no WABA")
    facts = read(value, at)
    if (business := as_id(info.get("owner_business_id"))) is not None:
        facts.append(Fact("owner_business", business, at))
    code = entry.get("tracking_code")
    return ChangeEffects(
        waba_id,
        tuple(facts),
        tracking_code=code if isinstance(code, str) else None,
        is_waba=bool(info) or event not in _BY_PARTNER,
    )


def _sent_at(time: object, received_at: datetime) -> datetime:
    """Meta's `time` in seconds, sometimes quoted; capped at receipt, which also stands for none."""
    text = str(time) if isinstance(time, int | str) and not isinstance(time, bool) else ""
    if not re.fullmatch(r"[0-9]{1,11}", text):
        return received_at
    return min(datetime.fromtimestamp(int(text), UTC), received_at)


_Read = Callable[[Json, datetime], list[Fact]]


def _always(name: FactName, told: str) -> _Read:
    return lambda _, at: [Fact(name, told, at)]


def _named(name: FactName, *path: str) -> _Read:
    """The value at `path`; of a list its first. Nothing is told where it is no plain name."""

    def read(value: Json, at: datetime) -> list[Fact]:
        found: Any = value
        for key in path:
            found = found[0] if isinstance(found, list) and found else found
            found = found.get(key) if isinstance(found, dict) else None
        told = _plain(found)
        return [Fact(name, told, at)] if told else []

    return read


def _removed(value: Json, at: datetime) -> list[Fact]:
    """A WABA unshared or, in coexistence, one number's link to the app cut."""
    info = value.get("disconnection_info")
    if not isinstance(info, dict) and "phone_number" not in value:
        return [Fact("shared", "unshared", at)]
    reason = _plain(info.get("reason")) if isinstance(info, dict) else None
    return [Fact("phone_link", reason or "account_disconnected", at)]


def _ban(value: Json, at: datetime) -> list[Fact]:
    info = value.get("ban_info")
    found = info.get("waba_ban_state") if isinstance(info, dict) else None
    # Older webhooks hold it in a list.
    found = found[0] if isinstance(found, list) and found else found
    told = _BANS.get(found) if isinstance(found, str) else None
    return [Fact("ban", told, at)] if told else []


_BANS = {"SCHEDULE_FOR_DISABLE": "scheduled", "DISABLE": "disabled", "REINSTATE": "none"}

_EVENTS: dict[str, _Read] = {
    "PARTNER_ADDED": lambda _, at: live_facts(at),
    "PARTNER_APP_INSTALLED": lambda _, at: live_facts(at),
    "PARTNER_REMOVED": _removed,
    "PARTNER_APP_UNINSTALLED": _always("app", "uninstalled"),
    "ACCOUNT_OFFBOARDED": _always("phone_link", "offboarded"),
    "ACCOUNT_RECONNECTED": _always("phone_link", "linked"),
    "ACCOUNT_DELETED": _always("deleted", "deleted"),
    "DISABLED_UPDATE": _ban,
    "ACCOUNT_RESTRICTION": _named("restriction", "restriction_info", "restriction_type"),
    "ACCOUNT_VIOLATION": _named("violation", "violation_info", "violation_type"),
    "PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE": _named(
        "certification", "partner_client_certification_info", "status"
    ),
    "PARTNER_CLIENT_CERTIFICATION_NEEDED": _always("certification", "needed"),
    "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE": _named("country", "country"),
    "VOLUME_BASED_PRICING_TIER_UPDATE": _named("pricing_tier", "volume_tier_info", "tier"),
    "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE": _always("international_pricing", "updated"),
    "AD_ACCOUNT_LINKED": _always("ad_account", "linked"),
    "MM_LITE_TERMS_SIGNED": _always("marketing_terms", "signed"),
}
#: Without `waba_info` the entry's id of these may be a partner's business: facts wait under it,
#: no connection is made of it.
_BY_PARTNER = frozenset(
    "PARTNER_APP_UNINSTALLED PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE"
    " PARTNER_CLIENT_CERTIFICATION_NEEDED AD_ACCOUNT_LINKED MM_LITE_TERMS_SIGNED".split()
)


def _plain_facts(field: str, value: Json) -> list[tuple[FactName, str]]:
    info = value.get("alert_info")
    told: list[tuple[FactName, object]] = {
        "account_review_update": [("review", value.get("decision"))],
        "account_alerts": [
            ("alert", (info if isinstance(info, dict) else value).get("alert_type"))
        ],
        "business_capability_update": [
            ("capability", value.get("max_daily_conversations_per_business"))
        ],
    }.get(field, [])  # type: ignore[assignment]
    return [(name, plain) for name, found in told if (plain := _plain(found))]


def _number(field: str, value: Json, at: datetime) -> tuple[NumberRef | None, list[Fact]]:
    """Account fields name a number by its digits alone, coexistence fields by its id too."""
    metadata = value.get("metadata")
    of = metadata if isinstance(metadata, dict) else value
    digits = "".join(filter(str.isdigit, str(of.get("display_phone_number", ""))))
    if not _DIGITS.fullmatch(digits):
        return None, []
    told: dict[str, tuple[FactName, object]] = {
        "phone_number_name_update": ("name", value.get("decision")),
        "phone_number_quality_update": ("quality", value.get("event")),
        "security": ("pin", value.get("event")),
        "history": ("history", _history(value.get("history"))),
    }
    name, found = told.get(field, ("history", None))
    plain = _plain(found)
    number = NumberRef(digits, as_id(of.get("phone_number_id")))
    return number, [Fact(name, plain, at, digits)] if plain else []


def _history(chunks: object) -> str | None:
    chunk = chunks[0] if isinstance(chunks, list) and chunks else None
    if not isinstance(chunk, dict):
        return None
    errors = chunk.get("errors")
    listed = errors if isinstance(errors, list) else []
    codes = [error.get("code") for error in listed if isinstance(error, dict)]
    return "declined" if _HISTORY_DECLINED in codes else "received"


def _plain(found: object) -> str | None:
    """A plain name in lower case, or a number: bytes from outside are never text to us."""
    text = str(found).replace(" ", "_") if isinstance(found, int | str) else ""
    return text.lower() if NAME.fullmatch(text) or ID.fullmatch(text) else None
