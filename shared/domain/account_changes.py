"""Read the effects of account changes on a WABA and its numbers. Unknown shapes are tolerated.

The events are those of Meta's account_update reference (April 2026). The other fields are those
that Meta documents beside it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.domain.facts import CUT, Fact, FactName, live_facts
from shared.domain.graph_errors import HISTORY_DECLINED
from shared.domain.json_object import Json
from shared.domain.splitting import NAME, as_id, as_seconds

#: Fields whose changes have effects. All other changes are only stored.
FIELDS = frozenset(
    "account_update account_review_update account_alerts business_capability_update"
    " phone_number_name_update phone_number_quality_update security"
    " history smb_app_state_sync".split()
)

_DIGITS = re.compile(r"[0-9]{5,20}", re.ASCII)
#: A number, or a range such as that of a volume tier, whose end may be open.
_AMOUNT = re.compile(r"[0-9]{1,20}(:([0-9]{1,20}|[A-Za-z]{1,20})?)?")


class UnreadableChange(Exception):
    """The change must have an effect, but a required value is missing. The text names what is
    missing; it never quotes a value.

    Permanent: the same change will never be readable.
    """

    code = "unreadable_change"


@dataclass(frozen=True, slots=True)
class NumberRef:
    digits: str
    phone_number_id: str | None


@dataclass(frozen=True, slots=True)
class ChangeEffects:
    """The effects of one change.

    `is_waba` is False if `waba_id` may be the id of something else. The facts then make no
    connection: they apply to the one for that id, now or as soon as there is one.
    """

    waba_id: str
    facts: tuple[Fact, ...] = ()
    number: NumberRef | None = None
    tracking_code: str | None = None
    is_waba: bool = True


def read_change(change: Json, received_at: datetime, *, app_id: str) -> ChangeEffects | None:
    """Return the effects of a change's content (see splitting); None if it has none.

    What names another app than `app_id`, ours, has none: a solution may have several. Nor has a
    webhook of another object, or of the dashboard's test button.

    Raise UnreadableChange.
    """
    field, entry, value = change.get("field"), change.get("entry"), change.get("value")
    if field not in FIELDS or not isinstance(value, dict) or not isinstance(entry, dict):
        return None
    if "object" in change or _is_of_the_test_button(entry):
        return None
    at = _sent_at(entry.get("time"), received_at)
    if field == "account_update":
        return _account_update(entry, value, at, app_id)
    waba_id = as_id(entry.get("id"))
    if waba_id is None:  # Meta's page shows a declined history without the entry's id
        return None
    number, facts = _number_and_facts(field, value, at)
    facts += [Fact(name, text, at) for name, text in _waba_facts(field, value)]
    return ChangeEffects(waba_id, tuple(facts), number, is_waba=False)


def _account_update(entry: Json, value: Json, at: datetime, app_id: str) -> ChangeEffects | None:
    event = value.get("event")
    read = _EVENTS.get(event) if isinstance(event, str) else None
    if read is None:
        return None
    info = value.get("waba_info")
    info = info if isinstance(info, dict) else {}
    named_app = info.get("partner_app_id", value.get("partner_app_id"))
    if named_app is not None and as_id(named_app) != app_id:
        return None
    waba_id = as_id(info.get("waba_id")) if info else as_id(entry.get("id"))
    if waba_id is None or (not info and event in _SHARES):
        raise UnreadableChange("names no WABA")
    facts = read(value, at)
    if (business := as_id(info.get("owner_business_id"))) is not None:
        facts.append(Fact("owner_business", business, at))
    code = entry.get("tracking_code")
    named = next((fact.digits for fact in facts if fact.digits), None)
    return ChangeEffects(
        waba_id,
        tuple(facts),
        NumberRef(named, None) if named else None,
        tracking_code=code if isinstance(code, str) else None,
        is_waba=bool(info) or event not in _PARTNER_EVENTS,
    )


def _is_of_the_test_button(entry: Json) -> bool:
    return set(str(entry.get("id", ""))) == {"0"}


def _sent_at(time: object, received_at: datetime) -> datetime:
    """Return Meta's `time` (seconds, sometimes as text), but never later than the receipt.

    Return the time of receipt if there is no valid `time`.
    """
    seconds = as_seconds(time)
    if seconds is None:
        return received_at
    return min(datetime.fromtimestamp(seconds, UTC), received_at)


_FactReader = Callable[[Json, datetime], list[Fact]]


def _fixed_fact(name: FactName, value: str) -> _FactReader:
    return lambda _, at: [Fact(name, value, at)]


def _fact_at_path(name: FactName, *path: str) -> _FactReader:
    """Return a reader of the value at `path`; of a list on the way it takes the first item.

    The reader returns no fact if the value is not a safe name or number.
    """

    def read(value: Json, at: datetime) -> list[Fact]:
        node: Any = value
        for key in path:
            node = node[0] if isinstance(node, list) and node else node
            node = node.get(key) if isinstance(node, dict) else None
        text = _safe_text(node)
        return [Fact(name, text, at)] if text else []

    return read


def _removal_facts(value: Json, at: datetime) -> list[Fact]:
    """The WABA was unshared or, in coexistence, the link of one number to the app was cut."""
    info = value.get("disconnection_info")
    if not isinstance(info, dict) and "phone_number" not in value:
        return [Fact("shared", "unshared", at)]
    reason = _safe_text(info.get("reason")) if isinstance(info, dict) else None
    digits = _digits_of(value.get("phone_number"))
    return [Fact("phone_link", reason or CUT, at, digits if _DIGITS.fullmatch(digits) else "")]


def _digits_of(number: object) -> str:
    return "".join(filter(str.isdigit, str(number)))


def _restriction_facts(value: Json, at: datetime) -> list[Fact]:
    """Meta lists every restriction that holds: they are one fact, in the order of their names."""
    info = value.get("restriction_info")
    listed = info if isinstance(info, list) else [info]
    names = {_safe_text(each.get("restriction_type")) for each in listed if isinstance(each, dict)}
    text = ",".join(sorted(filter(None, names)))
    return [Fact("restriction", text, at)] if text else []


def _ban_facts(value: Json, at: datetime) -> list[Fact]:
    info = value.get("ban_info")
    state = info.get("waba_ban_state") if isinstance(info, dict) else None
    # Older webhooks have it in a list.
    state = state[0] if isinstance(state, list) and state else state
    ban = _BAN_VALUES.get(state) if isinstance(state, str) else None
    return [Fact("ban", ban, at)] if ban else []


_BAN_VALUES = {"SCHEDULE_FOR_DISABLE": "scheduled", "DISABLE": "disabled", "REINSTATE": "none"}

_EVENTS: dict[str, _FactReader] = {
    "PARTNER_ADDED": lambda _, at: live_facts(at),
    "PARTNER_APP_INSTALLED": lambda _, at: live_facts(at),
    "PARTNER_REMOVED": _removal_facts,
    "PARTNER_APP_UNINSTALLED": _fixed_fact("app", "uninstalled"),
    "ACCOUNT_OFFBOARDED": _fixed_fact("phone_link", "offboarded"),
    "ACCOUNT_RECONNECTED": _fixed_fact("phone_link", "linked"),
    "ACCOUNT_DELETED": _fixed_fact("deleted", "deleted"),
    "DISABLED_UPDATE": _ban_facts,
    "ACCOUNT_RESTRICTION": _restriction_facts,
    "ACCOUNT_VIOLATION": _fact_at_path("violation", "violation_info", "violation_type"),
    "PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE": _fact_at_path(
        "certification", "partner_client_certification_info", "status"
    ),
    "PARTNER_CLIENT_CERTIFICATION_NEEDED": _fixed_fact("certification", "needed"),
    "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE": _fact_at_path("country", "country"),
    "VOLUME_BASED_PRICING_TIER_UPDATE": _fact_at_path("pricing_tier", "volume_tier_info", "tier"),
    "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE": _fixed_fact("international_pricing", "updated"),
    "AD_ACCOUNT_LINKED": _fixed_fact("ad_account", "linked"),
    "MM_LITE_TERMS_SIGNED": _fixed_fact("marketing_terms", "signed"),
}
#: The entry of these is the partner's own business: without `waba_info` they name no WABA.
_SHARES = frozenset({"PARTNER_ADDED", "PARTNER_APP_INSTALLED"})
#: If one of these has no `waba_info`, the entry's id may be a partner's business. Its facts are
#: recorded under that id, but no connection is made for it.
_PARTNER_EVENTS = frozenset(
    "PARTNER_APP_UNINSTALLED PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE"
    " PARTNER_CLIENT_CERTIFICATION_NEEDED AD_ACCOUNT_LINKED MM_LITE_TERMS_SIGNED".split()
)
#: Fields that state a fact of a WABA: the fact's name, and where the value says it.
_WABA_FACTS: dict[str, tuple[FactName, str]] = {
    "account_review_update": ("review", "decision"),
    "business_capability_update": ("capability", "max_daily_conversations_per_business"),
}


def _waba_facts(field: str, value: Json) -> list[tuple[FactName, str]]:
    if field not in _WABA_FACTS:
        return []
    name, key = _WABA_FACTS[field]
    text = _safe_text(value.get(key))
    return [(name, text)] if text else []


def _number_and_facts(field: str, value: Json, at: datetime) -> tuple[NumberRef | None, list[Fact]]:
    """Return the number the change is about, and its facts.

    Account fields name a number by its digits only, coexistence fields also by its id, an alert by
    its id only. A number whose digits Meta does not show has its id in their place.
    """
    if field == "account_alerts":
        return None, _alert_facts(value, at)
    metadata = value.get("metadata")
    source = metadata if isinstance(metadata, dict) else value
    digits = _digits_of(source.get("display_phone_number"))
    phone_number_id = as_id(source.get("phone_number_id"))
    if not _DIGITS.fullmatch(digits):
        if phone_number_id is None:
            return None, []
        digits = phone_number_id
    facts_by_field: dict[str, tuple[FactName, object]] = {
        "phone_number_name_update": ("name", value.get("decision")),
        "phone_number_quality_update": ("quality", value.get("event")),
        "security": ("pin", value.get("event")),
        "history": ("history", _history_outcome(value.get("history"))),
    }
    name, raw = facts_by_field.get(field, ("history", None))
    text = _safe_text(raw)
    number = NumberRef(digits, phone_number_id)
    return number, [Fact(name, text, at, digits)] if text else []


def _alert_facts(value: Json, at: datetime) -> list[Fact]:
    """An alert is about a number or, with every other entity, about the WABA. `none` ends it."""
    info = value.get("alert_info")
    alert = info if isinstance(info, dict) else value  # older webhooks have it flat
    text = _safe_text(alert.get("alert_type"))
    if alert.get("alert_status") == "NONE":
        text = "none"
    number = as_id(value.get("entity_id")) if value.get("entity_type") == "PHONE_NUMBER" else None
    return [Fact("alert", text, at, number or "")] if text else []


def _history_outcome(chunks: object) -> str | None:
    chunk = chunks[0] if isinstance(chunks, list) and chunks else None
    if not isinstance(chunk, dict):
        return None
    errors = chunk.get("errors")
    listed = errors if isinstance(errors, list) else []
    codes = [error.get("code") for error in listed if isinstance(error, dict)]
    return "declined" if HISTORY_DECLINED in codes else "received"


def _safe_text(raw: object) -> str | None:
    """Return a name in lower case, a number or a range of numbers; None for anything else. We trust
    no other text from outside."""
    text = str(raw).replace(" ", "_") if isinstance(raw, int | str) else ""
    return text.lower() if NAME.fullmatch(text) or _AMOUNT.fullmatch(text) else None
