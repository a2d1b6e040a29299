"""The errors of the Graph API, in Meta's own JSON."""

import secrets
from typing import Any

#: HTTP statuses as the error-codes page has them (Apr 2026). Rate limits are answered 400.
_STATUSES = {2: 503, 10: 403, 101: 400, 104: 401, 190: 401, 200: 403, 368: 403}


class GraphError(Exception):
    """The request is refused. `code` and `subcode` are Meta's numbers."""

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
        error = {
            "message": self.message,
            "type": "GraphMethodException" if is_method else "OAuthException",
            "code": self.code,
            "error_subcode": self.subcode,
            "is_transient": self.is_transient,
            "error_user_title": self.title,
            "error_user_msg": self.title and self.message,
            "fbtrace_id": f"A{secrets.token_urlsafe(16)}",
        }
        return {"error": {name: value for name, value in error.items() if value is not None}}


def unknown_object(method: str, object_id: str) -> GraphError:
    """Return the error for an object that does not exist or that the caller may not see."""
    return GraphError(
        100,
        f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, cannot"
        " be loaded due to missing permissions, or does not support this operation.",
        subcode=33,
    )


def bad_parameter(reason: str) -> GraphError:
    return GraphError(100, f"(#100) {reason}")


def invalid_token(subcode: int | None) -> GraphError:
    """Return the error for an invalid token. Subcodes as in the error-codes page (Apr 2026)."""
    reason = {
        458: "The user has not authorized the application.",
        460: "The session has been invalidated because the user changed their password or Facebook"
        " has changed the session for security reasons.",
        463: "Session has expired.",
    }.get(subcode or 0, "The session is invalid.")
    return GraphError(190, f"Error validating access token: {reason}", subcode=subcode)
