"""What a run came to, in the words of RabbitMQ's own Jepsen tests (github.com/rabbitmq/jepsen)."""

from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Ledger:
    """Webhooks as Meta counts them, changes as we do. Sound: nothing lost, doubled, unexpected."""

    attempted: int = 0
    acknowledged: int = 0
    processed: int = 0
    dead: int = 0
    pending: int = 0
    lost: int = 0
    doubled: int = 0
    redelivered: int = 0
    unexpected: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not (self.lost or self.doubled or self.unexpected)

    def counts(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "remarks"}

    def note(self, count: int, what: str, remark: str) -> None:
        if count:
            setattr(self, what, getattr(self, what) + count)
            self.remarks.append(f"{what}: {count} {remark}")
