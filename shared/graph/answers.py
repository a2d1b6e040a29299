"""Parse Meta's answers. Ignore what we do not know; an answer without what we need is an error."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.domain.facts import NumberProperty
from shared.domain.graph_errors import MetaRefused, MetaUnavailable
from shared.domain.json_object import Json
from shared.domain.numbers import PhoneNumber
from shared.domain.proof import SCOPE, TokenReport
from shared.domain.splitting import as_id

#: Statuses of a registered number on the Cloud API. Any other must be registered first.
_REGISTERED = frozenset({"CONNECTED", "FLAGGED", "RESTRICTED", "RATE_LIMITED", "BANNED"})
_PROPERTY_FIELDS: Mapping[NumberProperty, str] = {
    "number_status": "status",
    "number_quality": "quality_rating",
    "number_name": "name_status",
    "number_limit": "messaging_limit_tier",
}
#: Meta's words, such as `CONNECTED` and `TIER_1K`. We store no other text from outside.
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A customer's token. `expires_at` is None if it never expires or Meta did not say.

    Its repr is off, so that it is never logged.
    """

    text: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waba:
    waba_id: str
    owner_business_id: str | None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class NumberReading:
    """A number with its properties as Meta tells them, in lower case; one it does not tell is
    missing."""

    number: PhoneNumber
    properties: Mapping[NumberProperty, str]


def parse_token(answer: Json) -> Token:
    text, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(text, str) or not text:
        raise MetaUnavailable("meta_unavailable")
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
        return Token(text, None)
    return Token(text, _time(int(time.time()) + seconds))


def parse_report(answer: Json) -> TokenReport:
    data = answer.get("data")
    if not isinstance(data, dict):
        raise MetaUnavailable("meta_unavailable")
    return TokenReport(
        is_valid=data.get("is_valid") is True,
        app_id=as_id(data.get("app_id")) or "",
        wabas=_granted(data.get("granular_scopes")),
        user_id=as_id(data.get("user_id")),
        expires_at=_time(data.get("expires_at")),
        data_access_ends_at=_time(data.get("data_access_expires_at")),
    )


def _granted(granular: object) -> frozenset[str] | None:
    """Return the WABAs that a token grants; None means all, or that Meta does not tell.

    No `target_ids` means all, an empty list none; valid tokens may lack the entry (observed; not
    confirmed by Meta). Whoever relies on the token reads the WABA with it.
    """
    for grant in granular if isinstance(granular, list) else ():
        if isinstance(grant, dict) and grant.get("scope") == SCOPE:
            targets = grant.get("target_ids")
            if targets is None:
                return None
            ids = map(as_id, targets) if isinstance(targets, list) else ()
            return frozenset(id_ for id_ in ids if id_ is not None)
    return None


def _time(seconds: object) -> datetime | None:
    """Return the time; None for 0, which means never to Meta, and for what is no time."""
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds < 10**11:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def parse_waba(waba_id: str, answer: Json) -> Waba:
    if as_id(answer.get("id")) != waba_id:
        raise MetaRefused("not_found")
    business = answer.get("owner_business_info")
    owner = as_id(business.get("id")) if isinstance(business, dict) else None
    name = answer.get("name")
    # PostgreSQL keeps no NUL, and a name is shown to people.
    is_text = isinstance(name, str) and name.isprintable()
    return Waba(waba_id, owner, name if is_text else None)


def parse_subscription(app_id: str, answer: Json) -> bool:
    """Return whether this app is among those that Meta sends the webhooks to."""
    data = answer.get("data")
    rows = data if isinstance(data, list) else []
    apps = [row.get("whatsapp_business_api_data") for row in rows if isinstance(row, dict)]
    return any(isinstance(app, dict) and as_id(app.get("id")) == app_id for app in apps)


def parse_number(row: object) -> PhoneNumber | None:
    if not isinstance(row, dict) or (id_ := as_id(row.get("id"))) is None:
        return None
    digits = "".join(filter(str.isdecimal, str(row.get("display_phone_number", ""))))
    is_on_cloud = row.get("platform_type") == "CLOUD_API"
    return PhoneNumber(
        phone_number_id=id_,
        digits=digits if digits and digits.isascii() else id_,
        is_coexistence=row.get("is_on_biz_app") is True,
        is_registered=is_on_cloud and row.get("status") in _REGISTERED,
        status=_word(row.get("status")),
        is_verified=row.get("code_verification_status") != "NOT_VERIFIED",
    )


def _word(value: object) -> str:
    """Return a word of Meta's; empty if it is none."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def parse_reading(row: object) -> NumberReading | None:
    number = parse_number(row)
    if number is None or not isinstance(row, dict):
        return None
    told = {name: _word(row.get(field)) for name, field in _PROPERTY_FIELDS.items()}
    return NumberReading(number, {name: word.lower() for name, word in told.items() if word})


def parse_page(answer: Json) -> tuple[list[object], str | None]:
    """Return the rows of a page, and where the next one begins; None: it is the last."""
    data = answer.get("data")
    if not isinstance(data, list):
        raise MetaUnavailable("meta_unavailable")
    return data, _next_page(answer)


def _next_page(answer: Json) -> str | None:
    paging = answer.get("paging")
    if not isinstance(paging, dict) or "next" not in paging:
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return after if isinstance(after, str) and after else None
