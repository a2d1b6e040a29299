"""How the API is described once and served: an endpoint is data, for the router and OpenAPI."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

MAX_BODY_BYTES = 65_536
BODY_SECONDS = 5.0

#: What can be refused, and with which status.
RefusalStatus = Literal[400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503]


class Problem(Exception):
    """The request is refused: a word for programs, a sentence for people, never their secrets."""

    def __init__(
        self, status: RefusalStatus, code: str, message: str, *, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        super().__init__(code)

    def response(self) -> web.Response:
        body = {"code": self.code, "message": self.message}
        response = web.json_response(body, status=self.status)
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


class Model(BaseModel):
    """What is not known is refused, so that a misspelt property is no silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `organization_id` None: the company, for any organization it names."""

    key_id: UUID
    name: str
    organization_id: str | None

    @property
    def actor(self) -> str:
        """For the audit log."""
        return f"api key {self.name}"

    def scope(self, named: str | None) -> str | None:
        """The organization a request is about: the caller's own, or the one it names.

        Raises Problem where that is another's.
        """
        if self.organization_id is None:
            return named
        if named not in (None, self.organization_id):
            raise Problem(403, "other_organization", "This key is another organization's.")
        return self.organization_id


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request, checked. `body`, `query` and `path` are of the endpoint's models."""

    caller: Caller | None
    path: Any
    query: Any
    body: Any
    headers: Mapping[str, str]

    @property
    def known(self) -> Caller:
        """For endpoints that need a key."""
        assert self.caller is not None  # noqa: S101 - authenticated before
        return self.caller


M = TypeVar("M", bound=BaseModel)

EndpointHandler = Callable[[ApiCall], Awaitable[tuple[int, BaseModel]]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`answers` maps statuses to their models; problems are told by `refuses`."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    summary: str
    handle: EndpointHandler
    answers: Mapping[int, type[BaseModel]]
    refuses: Sequence[RefusalStatus] = ()
    path_model: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = True


async def read_call(endpoint: Endpoint, request: web.Request, caller: Caller | None) -> ApiCall:
    """The request's parts as its endpoint describes them. Raises Problem."""
    return ApiCall(
        caller=caller,
        path=endpoint.path_model and checked(endpoint.path_model, dict(request.match_info), "path"),
        query=endpoint.query and checked(endpoint.query, _query(request), "query"),
        body=await _body(endpoint, request),
        headers=request.headers,
    )


def _query(request: web.Request) -> dict[str, str]:
    if len(request.query) != len(set(request.query)):
        raise Problem(422, "invalid_query", "A parameter is given more than once.")
    return dict(request.query)


async def _body(endpoint: Endpoint, request: web.Request) -> BaseModel | None:
    if endpoint.body is None:
        return None
    if request.content_type != "application/json":
        raise Problem(415, "not_json", "The body must be application/json.")
    return await read_body(endpoint.body, request)


async def read_body(model: type[M], request: web.Request) -> M:
    """Within BODY_SECONDS. Raises Problem."""
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
    return checked(model, parsed, "body")


def checked(model: type[M], value: object, place: str) -> M:
    """`value` as the model: what came as JSON strictly, texts of a URL as what they stand for.

    Raises Problem, which names what is wrong and quotes nothing.
    """
    try:
        return model.model_validate(value, strict=place == "body")
    except ValidationError as error:
        # Names and kinds of fault; never the value, which may be a token.
        told = {
            ".".join(map(str, e["loc"]))[:100] or place: e["type"]
            for e in error.errors(include_input=False, include_context=False)
        }
        what = ", ".join(f"{where}: {kind}" for where, kind in sorted(told.items())[:10])
        raise Problem(422, f"invalid_{place}", what) from None
