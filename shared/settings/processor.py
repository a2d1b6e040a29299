"""The settings of the processor."""

from shared.settings.groups import (
    BodyKeySettings,
    DatabaseSettings,
    GraphSettings,
    ProcessSettings,
    RedisSettings,
    TokenKeySettings,
    TopologySettings,
)


class ProcessorSettings(
    ProcessSettings,
    TopologySettings,
    DatabaseSettings,
    RedisSettings,
    BodyKeySettings,
    TokenKeySettings,
    GraphSettings,
):
    pass
