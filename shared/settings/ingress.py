"""The settings of the ingress. It faces the internet, so it never has TOKEN_ENCRYPTION_KEY."""

from pydantic import Field

from shared.settings.groups import (
    AddressLimitSettings,
    BodyKeySettings,
    BrokerSettings,
    DatabaseSettings,
    MetaAppSettings,
    Port,
    ProcessSettings,
    RedisSettings,
)


class IngressSettings(
    ProcessSettings,
    MetaAppSettings,
    BrokerSettings,
    DatabaseSettings,
    RedisSettings,
    BodyKeySettings,
    AddressLimitSettings,
):
    port: Port = Field(8080, description="a port for Meta's webhooks")
