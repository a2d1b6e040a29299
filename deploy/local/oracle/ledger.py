"""The result of a run, in the words of RabbitMQ's own Jepsen tests (github.com/rabbitmq/jepsen)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Word = Literal["lost", "doubled", "unexpected", "pending"]

#: What the checker can find, and the word that each counts under.
FINDINGS: dict[str, Word] = {
    "webhook lost": "lost",
    "webhook doubled": "doubled",
    "webhook never sent": "unexpected",
    "webhook in a wrong state": "unexpected",
    "webhook not split": "pending",
    "body lost": "lost",
    "body cannot be opened": "lost",
    "body changed": "unexpected",
    "digest changed": "unexpected",
    "count of open changes wrong": "unexpected",
    "processed wrong": "unexpected",
    "change lost": "lost",
    "change doubled": "doubled",
    "change never sent": "unexpected",
    "change of another webhook": "unexpected",
    "change in a wrong state": "unexpected",
    "change not done": "pending",
    "content lost": "lost",
    "content cannot be opened": "lost",
    "content changed": "unexpected",
    "field or event wrong": "unexpected",
    "WABA or number wrong": "unexpected",
    "time of receipt wrong": "unexpected",
    "person lost or mixed up": "lost",
    "organization lost": "lost",
    "organization wrong": "unexpected",
    "dead without a letter": "lost",
    "letter doubled": "doubled",
    "letter without a dead row": "unexpected",
    "letter of another webhook": "unexpected",
    "event lost": "lost",
    "event not published": "pending",
    "event never told": "lost",
    "event told to no queue": "lost",
    "event told without a row": "unexpected",
    "event told under two ids": "doubled",
    "event told under another id": "unexpected",
    "event told to another organization": "unexpected",
    "event told with other content": "unexpected",
    "event told with another envelope": "unexpected",
    "event nobody is owed": "unexpected",
    "row of an event changed": "unexpected",
    "connection lost": "lost",
    "connection of no webhook": "unexpected",
    "connection's state wrong": "unexpected",
    "connection's owner wrong": "unexpected",
    "fact lost": "lost",
    "fact wrong": "unexpected",
    "number lost": "lost",
    "number of no webhook": "unexpected",
    "era lost": "lost",
    "era wrong": "unexpected",
    "era that nobody began": "unexpected",
    "eras overlap": "unexpected",
    "transition lost": "lost",
    "transition told twice": "doubled",
    "transition that never was": "unexpected",
    "transition wrong": "unexpected",
    "follow-up not done": "pending",
}


@dataclass(slots=True)
class Ledger:
    """Counts of a run.

    `attempted` and `acknowledged` count POSTs. `processed` and `dead` count changes and broken
    webhooks, `redelivered` events that were told again under their own id. `findings` count what
    should not be. A run is sound if there are none.
    """

    attempted: int = 0
    acknowledged: int = 0
    processed: int = 0
    dead: int = 0
    redelivered: int = 0
    findings: Counter[str] = field(default_factory=Counter)

    @property
    def is_sound(self) -> bool:
        return not self.findings

    @property
    def remarks(self) -> list[str]:
        return [f"{FINDINGS[name]}: {n} x {name}" for name, n in sorted(self.findings.items())]

    def counts(self) -> dict[str, int]:
        words = Counter[str]()
        for name, count in self.findings.items():
            words[FINDINGS[name]] += count
        names = ("attempted", "acknowledged", "processed", "dead", "redelivered")
        return {name: getattr(self, name) for name in names} | {
            word: words[word] for word in ("lost", "doubled", "unexpected", "pending")
        }

    def find(self, finding: str, count: int = 1) -> None:
        """Add `count` of a finding. Do nothing if that is not positive."""
        if finding not in FINDINGS:
            raise KeyError(finding)
        if count > 0:
            self.findings[finding] += count
