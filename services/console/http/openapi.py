"""Build the OpenAPI document from the endpoints."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.console.http.endpoints import Endpoint

_PROBLEMS = {
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
_PROBLEM = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string", "description": "For programs: stays the same"},
        "message": {"type": "string", "description": "For people"},
    },
}


def _refusal_statuses(endpoint: Endpoint) -> set[int]:
    """Return the statuses an endpoint may refuse with: its own and the general ones."""
    statuses: set[int] = {*endpoint.refuses, 429, 503}
    if endpoint.needs_key:
        statuses.add(401)
    if endpoint.body is not None:
        statuses |= {400, 408, 413, 415}
    if endpoint.body or endpoint.query or endpoint.path_model:
        statuses.add(422)
    return statuses


def build_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    models = {
        model
        for endpoint in endpoints
        for model in (*endpoint.answers.values(), endpoint.body)
        if model is not None
    }
    sorted_models = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted_models],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Porteiro", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}) | {"Problem": _PROBLEM},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers = {
        str(status): {"description": "Done", "content": _json(model.__name__)}
        for status, model in endpoint.answers.items()
    }
    refusals = {
        str(status): {"description": _PROBLEMS[status], "content": _json("Problem")}
        for status in sorted(_refusal_statuses(endpoint))
    }
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "responses": answers | refusals,
        "security": [{"key": []}] if endpoint.needs_key else [{"key": []}, {}],
    }
    parameters = [
        *_parameters(endpoint.path_model, "path"),
        *_parameters(endpoint.query, "query"),
        *(
            {
                "in": "header", "name": name, "description": text, "required": False,
                "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
            }
            for name, text in endpoint.headers.items()
        ),
    ]  # fmt: skip
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(endpoint.body.__name__)}
    return operation


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _parameters(model: type[BaseModel] | None, place: str) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    assert not re.search(r"\$ref", str(schema))
    return [
        {"in": place, "name": name, "required": name in required, "schema": property_schema}
        for name, property_schema in schema["properties"].items()
    ]
