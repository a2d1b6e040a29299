"""What the processor needs."""

from shared.settings import (
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
