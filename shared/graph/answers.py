"""What Meta's answers say, read tolerantly: a shape we do not know is no answer."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.domain.graph_errors import MetaUnavailable
from shared.domain.json_object import Json
from shared.domain.proof import SCOPE, TokenReport
from shared.domain.provisioning import PhoneNumber
from shared.domain.splitting import as_id

#: Of a number on the Cloud API; the others are not usable before a registration.
_REGISTERED = frozenset({"CONNECTED", "FLAGGED", "RESTRICTED", "RATE_LIMITED", "BANNED"})


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A customer's token; `expires_at` None: never, or Meta did not say. Never shown."""

    text: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waba:
    waba_id: str
    owner_business_id: str | None


def parse_token(answer: Json) -> Token:
    text, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(text, str) or not text:
        raise MetaUnavailable("meta_unavailable")
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
        return Token(text, None)
    return Token(text, _time(int(time.time()) + seconds))


def parse_report(data: Json) -> TokenReport:
    scopes = data.get("scopes")
    return TokenReport(
        is_valid=data.get("is_valid") is True,
        app_id=as_id(data.get("app_id")) or "",
        scopes=frozenset(s for s in scopes if isinstance(s, str))
        if isinstance(scopes, list)
        else frozenset(),
        wabas=_granted(data.get("granular_scopes")),
        user_id=as_id(data.get("user_id")),
        expires_at=_time(data.get("expires_at")),
    )


def _granted(granular: object) -> frozenset[str] | None:
    """Absent `target_ids` mean all, an empty list none (seen in the field; unconfirmed by Meta)."""
    for one in granular if isinstance(granular, list) else ():
        if isinstance(one, dict) and one.get("scope") == SCOPE:
            targets = one.get("target_ids")
            if targets is None:
                return None
            ids = map(as_id, targets) if isinstance(targets, list) else ()
            return frozenset(id_ for id_ in ids if id_ is not None)
    return frozenset()


def _time(seconds: object) -> datetime | None:
    """0 is Meta's never."""
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds < 10**11:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def parse_number(told: object) -> PhoneNumber | None:
    if not isinstance(told, dict) or (id_ := as_id(told.get("id"))) is None:
        return None
    digits = "".join(filter(str.isdecimal, str(told.get("display_phone_number", ""))))
    is_on_cloud = told.get("platform_type") == "CLOUD_API"
    return PhoneNumber(
        phone_number_id=id_,
        digits=digits if digits.isascii() else "",
        is_coexistence=told.get("is_on_biz_app") is True,
        is_registered=is_on_cloud and told.get("status") in _REGISTERED,
    )


def parse_next_page(answer: Json) -> str | None:
    paging = answer.get("paging")
    if not isinstance(paging, dict) or "next" not in paging:
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return after if isinstance(after, str) and after else None
