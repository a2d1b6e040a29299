"""What Graph refuses with, in Meta's own shape."""

import secrets
from typing import Any

#: Limits come as 400; the others are as the error-codes page (Apr 2026) prints them.
_STATUSES = {2: 503, 10: 403, 101: 400, 104: 401, 190: 401, 200: 403, 368: 403}


class GraphError(Exception):
    """A refusal: `code` and `subcode` are Meta's numbers."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        subcode: int | None = None,
        status: int | None = None,
        is_transient: bool | None = None,
        title: str | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.subcode = subcode
        self.status = status or _STATUSES.get(code, 400)
        self.is_transient = is_transient
        self.title = title
        super().__init__(f"{code}/{subcode}")

    def body(self) -> dict[str, Any]:
        is_method = (self.code, self.subcode) == (100, 33)
        told = {
            "message": self.message,
            "type": "GraphMethodException" if is_method else "OAuthException",
            "code": self.code,
            "error_subcode": self.subcode,
            "is_transient": self.is_transient,
            "error_user_title": self.title,
            "error_user_msg": self.title and self.message,
            "fbtrace_id": f"A{secrets.token_urlsafe(16)}",
        }
        return {"error": {name: value for name, value in told.items() if value is not None}}


def unknown_object(method: str, object_id: str) -> GraphError:
    """Missing and not to be seen are one answer."""
    return GraphError(
        100,
        f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, cannot"
        " be loaded due to missing permissions, or does not support this operation.",
        subcode=33,
    )


def bad_parameter(why: str) -> GraphError:
    return GraphError(100, f"(#100) {why}")


def dead_token(subcode: int | None) -> GraphError:
    """Subcodes as the error-codes page has them (Apr 2026): 458 app removed, 463 expired, ..."""
    why = {
        458: "The user has not authorized the application.",
        460: "The session has been invalidated because the user changed their password or Facebook"
        " has changed the session for security reasons.",
        463: "Session has expired.",
    }.get(subcode or 0, "The session is invalid.")
    return GraphError(190, f"Error validating access token: {why}", subcode=subcode)
