"""Compare the dead rows with the dead letters: each has the other."""

from collections import defaultdict
from uuid import UUID

from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Row, Stored


def check_letters(ledger: Ledger, stored: Stored) -> None:
    """Check that each dead row has one open letter, and that each open letter has its dead row."""
    open_letters: defaultdict[tuple[str, UUID], list[Row]] = defaultdict(list)
    for letter in stored.letters:
        if letter["closed_at"] is None:
            open_letters[letter["kind"], letter["subject_id"]].append(letter)
    dead = [("webhook", row.id, row.id) for row in stored.webhooks if row.state == "dead"]
    dead += [("change", row.id, row.webhook_id) for row in stored.changes if row.state == "dead"]
    for kind, row_id, webhook_id in dead:
        letters = open_letters.pop((kind, row_id), [])
        if not letters:
            ledger.find("dead without a letter")
        ledger.find("letter doubled", len(letters) - 1)
        for letter in letters:
            if letter["webhook_id"] != webhook_id:
                ledger.find("letter of another webhook")
    ledger.find("letter without a dead row", sum(map(len, open_letters.values())))
