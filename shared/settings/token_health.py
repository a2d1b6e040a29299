"""The settings of token_health."""

from shared.settings.groups import (
    BrokerSettings,
    DatabaseSettings,
    GraphSettings,
    ProcessSettings,
    RedisSettings,
    TokenKeySettings,
)


class TokenHealthSettings(
    ProcessSettings,
    DatabaseSettings,
    BrokerSettings,
    RedisSettings,
    TokenKeySettings,
    GraphSettings,
):
    pass
