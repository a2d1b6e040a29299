"""Build the OpenAPI document from the endpoints."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from services.console.http import contract_words as words
from services.console.http import problems, request_ids
from services.console.http.endpoints import HEADER_VALUE, Endpoint

_REQUEST_ID = {request_ids.HEADER: {"$ref": f"#/components/headers/{request_ids.HEADER}"}}
_RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer"}, "required": True}
_HEADERS: dict[int, dict[str, Any]] = {
    429: {
        "Retry-After": _RETRY_AFTER,
        **{
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in words.RATE_LIMIT_HEADERS.items()
        },
    },
    503: {"Retry-After": _RETRY_AFTER},
}


class _WithoutTitles(GenerateJsonSchema):
    """A property's name says what its title would."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False


def _refusal_statuses(endpoint: Endpoint) -> set[int]:
    """Return the statuses an endpoint may refuse with: its own and the general ones."""
    statuses: set[int] = {*endpoint.refuses, 429, 503}
    if endpoint.needs_key:
        statuses |= {401, 403}
    if endpoint.body is not None:
        statuses |= {400, 408, 413, 415}
    if endpoint.body or endpoint.query or endpoint.path_model:
        statuses.add(422)
    return statuses


def build_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": words.INFO,
        "servers": words.SERVERS,
        "tags": [{"name": name, "description": text} for name, text in words.TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints) | {"Problem": words.PROBLEM, "Reason": words.REASON},
            "responses": {
                f"refused_{status}": {
                    "description": text,
                    "headers": _HEADERS.get(status, {}) | _REQUEST_ID,
                    "content": _content("Problem", problems.CONTENT_TYPE),
                }
                for status, text in words.REFUSALS.items()
            },
            "headers": {
                request_ids.HEADER: {
                    "description": words.REQUEST_ID,
                    "required": True,
                    "schema": {"type": "string", "pattern": f"^{request_ids.SAFE.pattern}$"},
                }
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": words.KEY}
            },
        },
    }


def _schemas(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    models = {
        model
        for endpoint in endpoints
        for model in (*endpoint.answers.values(), endpoint.body)
        if model is not None
    }
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
        schema_generator=_WithoutTitles,
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers: dict[str, Any] = {
        str(status): {
            "description": words.ANSWERS[status],
            "headers": _REQUEST_ID,
            "content": _content(model.__name__),
        }
        for status, model in endpoint.answers.items()
    }
    refusals = {
        str(status): {"$ref": f"#/components/responses/refused_{status}"}
        for status in sorted(_refusal_statuses(endpoint))
    }
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [_tag(endpoint.path)],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "responses": answers | refusals,
        "security": [{"key": []}] if endpoint.needs_key else [{"key": []}, {}],
    }
    parameters = [
        *_parameters(endpoint.path_model, "path"),
        *_parameters(endpoint.query, "query"),
        *(
            {
                "in": "header", "name": name, "description": text, "required": False,
                "schema": {"type": "string", "pattern": f"^{HEADER_VALUE.pattern}$"},
            }
            for name, text in endpoint.headers.items()
        ),
    ]  # fmt: skip
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.body.__name__)}
    return operation


def _tag(path: str) -> str:
    """Return what a path is about: of `/api/v1/whatsapp/orphans/...`, `orphans`."""
    return path.split("/")[4]


def _content(schema: str, media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _parameters(model: type[BaseModel] | None, place: str) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema(schema_generator=_WithoutTitles)
    required = set(schema.get("required", ()))
    assert not re.search(r"\$ref", str(schema))
    return [
        {"in": place, "name": name, "required": name in required, **_in_a_url(described)}
        for name, described in schema["properties"].items()
    ]


def _in_a_url(described: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's description and schema. A URL has no null: it may leave it out."""
    if "anyOf" in described:
        [described] = [option for option in described["anyOf"] if option != {"type": "null"}]
    schema = {name: value for name, value in described.items() if name != "description"}
    return {"description": described["description"], "schema": schema}
