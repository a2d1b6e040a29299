"""The words of the OpenAPI document that belong to no single endpoint."""

from typing import Any

from shared.domain.remedies import REMEDIES

INFO = {
    "title": "Porteiro",
    "version": "1",
    "summary": "Connect customers' WhatsApp Business accounts, and see that they stay connected",
    "description": "docs/onboarding.md is how to use it; docs/api.md has keys, errors, lists and"
    " sending again; docs/reasons.md every reason in two languages. What happens later is told by"
    " events: docs/events.asyncapi.yaml.",
    "contact": {"name": "Whoever runs this Porteiro"},
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
SERVERS = [{"url": "/", "description": "The console, which serves this document (CONSOLE_URL)"}]
TAGS = {
    "onboarding": "Connecting a customer: from a link to a proven connection",
    "connections": "What is connected: its state, and what the company may do to it",
    "orphans": "WABAs that are shared with us and that no organization owns",
    "check-connection": "Whether connections work, and whether we do",
}
KEY = "Made by `porteiro api-keys create`, of the company or of one organization"
REQUEST_ID = (
    "The request's own X-Request-Id if it is 1 to 64 of `A-Z a-z 0-9 . _ -`, else a new one. It is"
    " in our logs."
)
ANSWERS = {
    200: "Done",
    201: "Started",
    202: "Accepted: it will be done, and the state tells when",
}
REFUSALS = {
    400: "The body is not JSON",
    401: "No key, or one that does not work",
    403: "Not with this key",
    404: "There is no such thing, or it is another organization's",
    408: "The body came too slowly",
    409: "It is in a state that does not allow this",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "Something in the request is not as described",
    429: "Too many requests: come again after Retry-After seconds",
    503: "PostgreSQL does not answer: come again after Retry-After seconds",
}
RATE_LIMIT_HEADERS = {
    "RateLimit-Policy": 'The limit, if it is one of a minute: `"address";q=1000;w=60`',
    "RateLimit": 'What is left of it, and for how many seconds: `"address";r=0;t=30`',
}
_PROBLEM_PROPERTIES: dict[str, dict[str, Any]] = {
    "type": {
        "type": "string",
        "format": "uri",
        "description": "`urn:porteiro:problem:` and the code",
        "examples": ["urn:porteiro:problem:no_such_connection"],
    },
    "title": {
        "type": "string",
        "description": "The code, in words",
        "examples": ["No such connection"],
    },
    "status": {"type": "integer", "description": "The answer's status", "examples": [404]},
    "detail": {
        "type": "string",
        "description": "For people: what is wrong this time",
        "examples": ["There is no such connection."],
    },
    "code": {
        "type": "string",
        "description": "For programs: stays the same. docs/api.md has them all",
        "examples": ["no_such_connection"],
    },
    "message": {
        "type": "string",
        "deprecated": True,
        "description": "The former name of `detail`",
        "examples": ["There is no such connection."],
    },
    "request_id": {
        "type": "string",
        "description": "The answer's X-Request-Id",
        "examples": ["0198c1e2-7d0f-7a31-9c55-2f6f0a8b4d10"],
    },
}
PROBLEM = {
    "type": "object",
    "description": "Why a request was refused, or failed (RFC 9457)",
    "required": list(_PROBLEM_PROPERTIES),
    "properties": _PROBLEM_PROPERTIES,
}
REASON = {
    "type": "string",
    "description": "Why something does not work. Others are Meta's own words (of a phone's"
    " disconnection): then the customer connects again.\n\n| reason | who must act | what it says"
    " |\n|---|---|---|\n"
    + "\n".join(
        f"| `{reason}` | {remedy.who} | {remedy.text} |" for reason, remedy in REMEDIES.items()
    ),
    "examples": ["pin_needed"],
}
