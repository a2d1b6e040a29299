"""What the processor needs."""

from shared.settings import BodyKeySettings, DatabaseSettings, ProcessSettings, TopologySettings


class ProcessorSettings(ProcessSettings, TopologySettings, DatabaseSettings, BodyKeySettings):
    pass
