"""The message templates of a WABA. A new one is approved at once, and that is told by webhook."""

import json
import re
import secrets
from typing import Any

from deploy.local.simulated_meta.access import GraphRequest, visible_waba
from deploy.local.simulated_meta.errors import GraphError, bad_parameter, unknown_object
from deploy.local.simulated_meta.nodes import Answer, paged, select
from deploy.local.simulated_meta.webhooks import template_webhook
from deploy.local.simulated_meta.world import Body, World

FIELDS = "name,parameter_format,components,language,status,category"
#: Templates of a WABA whose business is not verified (Template management, 2026).
LIMIT = 250
_KIND = "WhatsAppMessageTemplate"
_CATEGORIES = {"AUTHENTICATION", "MARKETING", "UTILITY"}
_NAME = re.compile(r"[a-z0-9_]{1,512}")
_CHANGEABLE = ("category", "components", "message_send_ttl_seconds", "parameter_format")
#: Fields that Meta has and that are empty here (Graph reference and Meta's SDKs, 2026).
_EMPTY = frozenset(
    "correct_category cta_url_link_tracking_opted_out degrees_of_freedom_spec"
    " library_template_name message_send_ttl_seconds previous_category quality_score"
    " rejected_reason sub_category".split()
)


def read_templates(world: World, request: GraphRequest) -> Answer:
    """List the templates, newest first; `summary` adds their count."""
    templates = visible_waba(world, request).templates
    fields = request.text("fields")
    nodes = [
        _node(template, fields) for template in reversed(templates) if _fits(template, request)
    ]
    answer = paged(nodes, request)
    if request.text("summary"):
        answer["summary"] = {
            "total_count": len(nodes),
            "message_template_count": len(templates),
            "message_template_limit": LIMIT,
            "are_translations_complete": False,
        }
    return answer


def create(world: World, request: GraphRequest) -> Answer:
    waba = visible_waba(world, request)
    params = request.params
    name, language = request.text("name"), request.text("language")
    if not _NAME.fullmatch(name) or not language or request.text("category") not in _CATEGORIES:
        raise bad_parameter("Invalid parameter: name, language or category")
    if any(
        (template["name"], template["language"]) == (name, language) for template in waba.templates
    ):
        raise GraphError(100, "Content in this language already exists", subcode=2388024)
    template: Body = {
        "id": str(10**15 + secrets.randbelow(10**14)),
        "name": name,
        "language": language,
        "status": "APPROVED",
        "category": request.text("category"),
        "parameter_format": request.text("parameter_format").upper() or "POSITIONAL",
        "components": _parsed(params.get("components", [])),
    }
    waba.templates.append(template)
    if waba.is_subscribed:
        world.send_webhook(template_webhook(waba, template, int(world.now())))
    return {"id": template["id"], "status": "PENDING", "category": template["category"]}


def read(world: World, request: GraphRequest) -> Answer:
    return _node(_visible(world, request), request.text("fields"))


def update(world: World, request: GraphRequest) -> Answer:
    template = _visible(world, request)
    changes = {
        name: _parsed(request.params[name]) for name in _CHANGEABLE if name in request.params
    }
    if not changes:
        raise bad_parameter("Nothing to update")
    template |= changes
    return {"success": True} | {name: template[name] for name in ("id", "name", "category")}


def delete(world: World, request: GraphRequest) -> Answer:
    """Delete the template of a name in every language, or only `hsm_id`."""
    waba = visible_waba(world, request)
    name, template_id = request.text("name"), request.text("hsm_id")
    kept = [
        template
        for template in waba.templates
        if template["name"] != name or template_id not in {"", template["id"]}
    ]
    if len(kept) == len(waba.templates):
        raise GraphError(100, "(#100) Message template not found", subcode=2593002)
    waba.templates = kept
    return {"success": True}


def _visible(world: World, request: GraphRequest) -> Body:
    found = world.find_template(request.object_id)
    if found is None:
        raise unknown_object(request.method, request.object_id)
    waba, template = found
    visible_waba(world, request.of(waba.waba_id))
    return template


def _node(template: Body, fields: str) -> Answer:
    return select(template, fields or FIELDS, kind=_KIND, empty=_EMPTY)


def _fits(template: Body, request: GraphRequest) -> bool:
    """Return whether the template is one of those asked for."""
    return request.text("name") in template["name"] and all(
        template[name] in request.text(name).split(",")
        for name in ("status", "category", "language")
        if request.text(name)
    )


def _parsed(value: Any) -> Any:
    """Return the value of a parameter; a form has JSON in it."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
