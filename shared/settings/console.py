"""The settings of the console."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from shared.settings.groups import (
    AddressLimitSettings,
    BrokerSettings,
    DatabaseSettings,
    Environment,
    GraphSettings,
    OrganizationLimitSettings,
    Port,
    ProcessSettings,
    RedisSettings,
    TokenKeySettings,
)
from shared.settings.validators import same_id


def _origin(value: str) -> str:
    """Return an origin: https, or http on this machine; without a path. Else raise ValueError."""
    url = urlsplit(value)
    is_local = url.scheme == "http" and url.hostname in ("127.0.0.1", "localhost", "::1")
    if not url.hostname or not (url.scheme == "https" or is_local) or url.path not in ("", "/"):
        raise ValueError
    return value.rstrip("/")


def _script(value: str) -> str:
    """Return a URL with an origin as above; any path. Else raise ValueError."""
    url = urlsplit(value)
    _origin(f"{url.scheme}://{url.netloc}")
    return value


Origin = Annotated[str, AfterValidator(_origin)]


class ConsoleSettings(
    ProcessSettings,
    DatabaseSettings,
    BrokerSettings,
    RedisSettings,
    TokenKeySettings,
    GraphSettings,
    AddressLimitSettings,
    OrganizationLimitSettings,
):
    port: Port = Field(8081, description="a port for the API and the pages")
    console_url: Origin = Field(
        description="https://host where customers' browsers reach the console"
    )
    next_public_meta_config_id: str = Field("", description="unset or the same as META_CONFIG_ID")
    meta_config_id: str = Field(
        "",
        validate_default=True,
        description="the id of the Login for Business configuration, digits;"
        " NEXT_PUBLIC_META_CONFIG_ID must be unset or the same",
    )
    meta_dialog_url: Origin = Field(
        "https://www.facebook.com",
        description="https://host of Meta's login dialog; in production only the default",
    )
    meta_sdk_url: Annotated[str, AfterValidator(_script)] = Field(
        "https://connect.facebook.net/en_US/sdk.js",
        description="the URL of Meta's JavaScript SDK; in production only the default",
    )

    @field_validator("meta_config_id")
    @classmethod
    def _same_config_id(cls, value: str, info: ValidationInfo) -> str:
        return same_id(value, info.data.get("next_public_meta_config_id"))

    @field_validator("meta_dialog_url", "meta_sdk_url")
    @classmethod
    def _only_metas_pages(cls, value: str, info: ValidationInfo) -> str:
        """Raise ValueError in production unless it is Meta's own page: customers log in there."""
        is_default = value == cls.model_fields[str(info.field_name)].default
        if info.data.get("environment") is Environment.PRODUCTION and not is_default:
            raise ValueError
        return value
