"""The result of a run, in the words of RabbitMQ's own Jepsen tests (github.com/rabbitmq/jepsen)."""

from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Ledger:
    """Counts of a run.

    `attempted` and `acknowledged` count POSTs. `processed` counts changes. The others count
    webhooks, changes, facts, connections and events. A run is sound if nothing is lost, doubled or
    unexpected.
    """

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

    def add(self, count: int, word: str, remark: str) -> None:
        """Add `count` to the field `word`, with a remark. Do nothing if `count` is 0."""
        if count:
            setattr(self, word, getattr(self, word) + count)
            self.remarks.append(f"{word}: {count} {remark}")
