"""The values that several calls have in common: their form, their meaning, an example."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, WithJsonSchema

from services.console.http.endpoints import Model

OrganizationId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._:-]{1,128}$",
        description="The company's own id of its customer",
        examples=["bakery"],
    ),
]
MetaId = Annotated[
    str, Field(pattern=r"^[0-9]{1,20}$", description="Meta's id", examples=["102290129340398"])
]
TrackingCode = Annotated[
    str,
    Field(
        pattern=r"^[!-.0-~]{1,128}$",
        description="Of the onboarding: a secret",
        examples=["the-tracking-code"],
    ),
]
Url = Annotated[
    str,
    Field(
        pattern=r"^(https://[A-Za-z0-9.-]{1,253}|http://(localhost|127\.0\.0\.1))"
        r"(:[0-9]{1,5})?(/[!-~]{0,500})?$",
        description="https, or http on this machine",
        examples=["https://app.company.example/whatsapp"],
    ),
]
#: Its component is made by services/console/http/openapi.py.
ReasonWord = Annotated[str, WithJsonSchema({"$ref": "#/components/schemas/Reason"})]
GoesOnAt = Annotated[datetime | None, Field(description="When it goes on by itself, if it does")]


class WabaPath(Model):
    waba_id: MetaId


class NumberPath(WabaPath):
    phone_number_id: MetaId


class CodePath(Model):
    tracking_code: TrackingCode
