"""The settings of the processor."""

from shared.settings.groups import (
    BodyKeySettings,
    DatabaseSettings,
    GraphSettings,
    OrganizationLimitSettings,
    ProcessSettings,
    RedisSettings,
    SubjectKeySettings,
    TokenKeySettings,
    TopologySettings,
)


class ProcessorSettings(
    ProcessSettings,
    TopologySettings,
    DatabaseSettings,
    RedisSettings,
    BodyKeySettings,
    SubjectKeySettings,
    TokenKeySettings,
    GraphSettings,
    OrganizationLimitSettings,
):
    pass
