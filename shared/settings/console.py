"""What the console needs."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, IPvAnyNetwork, ValidationInfo, field_validator

from shared.settings.groups import (
    BrokerSettings,
    DatabaseSettings,
    Environment,
    GraphSettings,
    Port,
    ProcessSettings,
    RedisSettings,
    TokenKeySettings,
)
from shared.settings.validators import COMMA_SEPARATED, same_id


def _origin(value: str) -> str:
    """https, or http on this machine; no path."""
    url = urlsplit(value)
    is_local = url.scheme == "http" and url.hostname in ("127.0.0.1", "localhost", "::1")
    if not url.hostname or not (url.scheme == "https" or is_local) or url.path not in ("", "/"):
        raise ValueError
    return value.rstrip("/")


def _script(value: str) -> str:
    """A URL on an origin as above."""
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
):
    port: Port = Field(8081, description="a port for the API and the pages")
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], *COMMA_SEPARATED] = Field(
        (),
        description="comma-separated networks of the proxies in front, whose X-Forwarded-For is"
        " believed",
    )
    console_url: Origin = Field(
        description="https://host, where customers' browsers reach the console"
    )
    next_public_meta_config_id: str = Field("", description="unset, or the same as META_CONFIG_ID")
    meta_config_id: str = Field(
        "",
        validate_default=True,
        description="the Login for Business configuration's id, digits; NEXT_PUBLIC_META_CONFIG_ID"
        " must be unset or the same",
    )
    meta_dialog_url: Origin = Field(
        "https://www.facebook.com", description="https://host of Meta's login dialog"
    )
    meta_sdk_url: Annotated[str, AfterValidator(_script)] = Field(
        "https://connect.facebook.net/en_US/sdk.js",
        description="where Meta's JavaScript SDK is; in production nowhere else",
    )

    @field_validator("meta_config_id")
    @classmethod
    def _same_config_id(cls, value: str, info: ValidationInfo) -> str:
        return same_id(value, info.data.get("next_public_meta_config_id"))

    @field_validator("meta_dialog_url", "meta_sdk_url")
    @classmethod
    def _metas_own_pages(cls, value: str, info: ValidationInfo) -> str:
        """Customers log in there: in production only at Meta's."""
        is_default = value == cls.model_fields[str(info.field_name)].default
        if info.data.get("environment") is Environment.PRODUCTION and not is_default:
            raise ValueError
        return value
