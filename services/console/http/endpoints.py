"""Endpoints as data, which the router and OpenAPI share, and the checks of a request."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.console.http.problems import Problem, RefusalStatus
from shared.store.api_keys import Right
from shared.store.audit import Requester

MAX_BODY_BYTES = 65_536
BODY_SECONDS = 5.0


class Model(BaseModel):
    """Refuse unknown properties: else a misspelt property would silently get its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AuditReason = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f]{1,500}$",
        description="Why, for the audit log",
        examples=["the customer left us"],
    ),
]
OnBehalfOf = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
        description="Your word for the person you act for, for the audit log",
        examples=["employee 17"],
    ),
]


#: What an endpoint's own headers may hold.
HEADER_VALUE = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated API key. `organization_id` None: the company's key, for any
    organization it names."""

    key_id: UUID
    name: str
    organization_id: str | None

    def requester(
        self, reason: str = "requested by API", on_behalf_of: str | None = None
    ) -> Requester:
        """Return this key as the audit log names it."""
        return Requester(f"api key {self.name} {self.key_id}", reason, on_behalf_of)

    def scope(self, named: str | None) -> str | None:
        """Return the organization a request is about: the caller's own, or the one it names.

        Return None if the company names none. Raises Problem if an organization's key names
        another organization.
        """
        if self.organization_id is None:
            return named
        if named not in (None, self.organization_id):
            raise Problem(403, "other_organization", "This key is another organization's.")
        return self.organization_id


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A checked request. `path`, `query` and `body` are instances of the endpoint's models."""

    caller: Caller | None
    path: Any
    query: Any
    body: Any
    headers: Mapping[str, str]

    @property
    def organization_id(self) -> str | None:
        """Return the organization that the request names, or whose key it has."""
        if self.caller is not None and self.caller.organization_id is not None:
            return self.caller.organization_id
        for part in (self.query, self.body):
            if (named := getattr(part, "organization_id", None)) is not None:
                return str(named)
        return None

    @property
    def authenticated(self) -> Caller:
        """Return the caller, in endpoints that need a key."""
        assert self.caller is not None
        return self.caller


M = TypeVar("M", bound=BaseModel)

#: Of aiohttp.
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
EndpointHandler = Callable[[ApiCall], Awaitable[tuple[int, BaseModel]]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation of the API.

    `answers` maps a status to its model. `refuses` lists the statuses of its own problems.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    summary: str
    description: str
    handle: EndpointHandler
    answers: Mapping[int, type[BaseModel]]
    refuses: Sequence[RefusalStatus] = ()
    path_model: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = True
    own_right: Right | None = None

    @property
    def right(self) -> Right:
        """Return the right that a key needs for it."""
        if self.own_right is not None:
            return self.own_right
        return Right.READ if self.method == "GET" else Right.CHANGE


async def read_call(endpoint: Endpoint, request: web.Request, caller: Caller | None) -> ApiCall:
    """Check a request against its endpoint's models. Raises Problem."""
    return ApiCall(
        caller=caller,
        path=endpoint.path_model
        and validate(endpoint.path_model, dict(request.match_info), "path"),
        query=endpoint.query and validate(endpoint.query, _read_query(request), "query"),
        body=await _read_body(endpoint, request),
        headers=request.headers,
    )


def _read_query(request: web.Request) -> dict[str, str]:
    if len(request.query) != len(set(request.query)):
        raise Problem(422, "invalid_query", "A parameter is given more than once.")
    return dict(request.query)


async def _read_body(endpoint: Endpoint, request: web.Request) -> BaseModel | None:
    if endpoint.body is None:
        return None
    if request.content_type != "application/json":
        raise Problem(415, "not_json", "The body must be application/json.")
    return await read_body(endpoint.body, request)


async def read_body(model: type[M], request: web.Request) -> M:
    """Read and check a JSON body within BODY_SECONDS. Raises Problem."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await request.read()
    except TimeoutError:
        raise Problem(408, "body_late", f"The body must come within {BODY_SECONDS} s.") from None
    except web.HTTPRequestEntityTooLarge:
        raise Problem(413, "too_large", f"At most {MAX_BODY_BYTES} bytes.") from None
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Problem(400, "not_json", "The body is not valid JSON.") from None
    return validate(model, parsed, "body")


def validate(model: type[M], value: object, place: str) -> M:
    """Return `value` as an instance of the model.

    A JSON body is checked strictly; the strings of a URL are converted to the model's types.
    Raises Problem, which names the invalid properties and never quotes a value.
    """
    try:
        return model.model_validate(value, strict=place == "body")
    except ValidationError as error:
        # Never the value: it may be a token.
        faults = {
            ".".join(map(str, fault["loc"]))[:100] or place: fault["type"]
            for fault in error.errors(include_input=False, include_context=False)
        }
        message = ", ".join(f"{name}: {fault}" for name, fault in sorted(faults.items())[:10])
        raise Problem(422, f"invalid_{place}", message) from None
