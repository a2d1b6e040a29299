"""What Meta documents of each webhook field: where its items are, and how they are named.

Splitting, keys, columns and the contract of the events (docs/events.asyncapi.yaml) are made from
it. A field that is not described is one piece.
"""

from dataclasses import dataclass
from typing import Final

Path = tuple[str, ...]

#: Pages are below this address, each with the date at its top when it was read.
PAGES: Final = "https://developers.facebook.com/documentation/business-messaging/whatsapp/"
#: The pages of fields by name are below this one of them.
REFERENCE: Final = "webhooks/reference/"


@dataclass(frozen=True, slots=True)
class Field:
    """`page` and `date` are Meta's page about the field; None: the page of its own name.

    `lists`: where in the value its items are; each item is stored, told and retried alone. `time`:
    where an item says when it happened; the entry's time makes any other item its own. `event`: the
    first of these in an item, or in a value without items, is what happened. `number`: where the
    value says which phone number it is about.
    """

    page: str | None = None
    date: str = "2026-04"
    lists: tuple[str, ...] = ()
    time: Path = ("timestamp",)
    event: tuple[Path, ...] = (("event",), ("status",), ("type",), ("decision",))
    number: Path = ("metadata", "phone_number_id")


UNKNOWN = Field()
_EVENT: Final = (("event",),)
_TYPE: Final = (("type",),)
_DECISION: Final = (("decision",),)
_OF_A_MESSAGE: Final = (("status",), ("type",))

DESCRIBED: Final[dict[str, Field]] = {
    "messages": Field(lists=("messages", "statuses"), event=_OF_A_MESSAGE),
    "standby": Field("conversation-routing", lists=("messages", "statuses"), event=_OF_A_MESSAGE),
    "message_echoes": Field("conversation-routing", lists=("message_echoes",), event=_TYPE),
    "smb_message_echoes": Field(lists=("message_echoes",), event=_TYPE),
    "smb_app_state_sync": Field(
        lists=("state_sync",),
        time=("metadata", "timestamp"),
        event=(("action",), ("type",)),
    ),
    # A chunk holds thousands of messages; media follow in `messages`, one by one.
    "history": Field(lists=("history", "messages"), event=_TYPE),
    "calls": Field(
        "calling/webhooks", "2026-03", lists=("calls", "statuses"), event=(("event",), ("status",))
    ),
    "user_preferences": Field(lists=("user_preferences",), event=(("value",),)),
    "user_id_update": Field("business-scoped-user-ids", "2026-06", lists=("user_id_update",)),
    "group_lifecycle_update": Field("groups/webhooks", "2026-03", lists=("groups",), event=_TYPE),
    "group_participants_update": Field(
        "groups/webhooks", "2026-03", lists=("groups",), event=_TYPE
    ),
    "group_settings_update": Field("groups/webhooks", "2026-03", lists=("groups",), event=_TYPE),
    "group_status_update": Field("groups/webhooks", "2026-03", lists=("groups",), event=_TYPE),
    "automatic_events": Field(lists=("automatic_events",), event=(("event_name",),)),
    "account_update": Field(event=_EVENT),
    "account_review_update": Field(event=_DECISION),
    "account_alerts": Field(event=(("alert_info", "alert_type"), ("alert_type",))),
    "account_settings_update": Field(
        "calling/webhooks",
        "2026-03",
        event=_TYPE,
        number=("phone_number_settings", "phone_number_id"),
    ),
    "business_capability_update": Field(),
    "business_username_updates": Field("business-scoped-user-ids", "2026-06"),
    "phone_number_name_update": Field(event=_DECISION),
    "phone_number_quality_update": Field(event=_EVENT),
    "security": Field(event=_EVENT),
    "partner_solutions": Field(event=_EVENT),
    "payment_configuration_update": Field(event=(("status",),)),
    "message_template_status_update": Field(event=_EVENT),
    "message_template_quality_update": Field(event=(("new_quality_score",),)),
    "message_template_components_update": Field(),
    "template_category_update": Field(event=(("new_category",),)),
}


def described(field: object) -> Field:
    """Return the description of a field; UNKNOWN if there is none."""
    return DESCRIBED.get(field, UNKNOWN) if isinstance(field, str) else UNKNOWN


def at(path: Path, value: object) -> object:
    """Return what is at the path in a JSON value; None if nothing is."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
