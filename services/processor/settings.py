"""What the processor needs."""

from shared.settings import BodyKeySettings, BrokerSettings, DatabaseSettings, ProcessSettings


class ProcessorSettings(ProcessSettings, BrokerSettings, DatabaseSettings, BodyKeySettings):
    pass
