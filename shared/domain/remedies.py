"""Say in words what is wrong with an onboarding or a connection, and what to do about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard

from shared.domain.customer_remedies import CUSTOMER_TEXTS, CustomerReason
from shared.domain.operator_remedies import (
    NOBODY_TEXTS,
    OPERATOR_TEXTS,
    NobodyReason,
    OperatorReason,
)

Actor = Literal["customer", "operator", "nobody"]
Language = Literal["en", "pt-BR"]
#: What only our own code sees. Meta accepts a sync once, so a used one counts as done; the others
#: are what an `attribute` follow-up waits for.
InternalReason = Literal["sync_used", "assigning", "another_onboarding"]
#: Why something does not work, by who must act.
Reason = CustomerReason | OperatorReason | NobodyReason | InternalReason
#: The reason of a connection that we disconnected.
BY_US: Reason = "disconnected_by_us"


@dataclass(frozen=True, slots=True)
class Remedy:
    """`who` must act. `texts` may be shown to the customer unchanged, one in each language."""

    who: Actor
    texts: Mapping[Language, str]

    @property
    def text(self) -> str:
        """In English."""
        return self.texts["en"]


def _remedy(who: Actor, english: str, portuguese: str) -> Remedy:
    return Remedy(who, {"en": english, "pt-BR": portuguese})


_GOES_ON = _remedy(
    "nobody",
    "This takes longer than usual. We try again automatically.",
    "Isto está demorando mais que o normal. Tentamos novamente automaticamente.",
)
_ENDED_AT_META = _remedy(
    "customer",
    "The connection ended at Meta's side. Connect it again.",
    "A conexão terminou no lado da Meta. Conecte-a novamente.",
)


def _known() -> Iterator[tuple[str, Remedy]]:
    for customer, texts in CUSTOMER_TEXTS.items():
        yield customer, _remedy("customer", *texts)
    for operator, texts in OPERATOR_TEXTS.items():
        yield operator, _remedy("operator", *texts)
    for nobody, texts in NOBODY_TEXTS.items():
        yield nobody, _remedy("nobody", *texts)


#: The remedy of each reason that anyone may read.
REMEDIES: Mapping[str, Remedy] = dict(_known())


def is_reason(word: str | None) -> TypeGuard[Reason]:
    """Return whether a word is a reason that anyone may read, not one of Meta's own words."""
    return word in REMEDIES


def remedy(reason: str | None, *, goes_on: bool = False) -> Remedy | None:
    """Return the remedy for a reason; None if nothing is wrong.

    `goes_on` says that the failed work is retried without anyone's help. For a reason of Meta's
    that we do not know (for example, of a phone's disconnection) the remedy is to connect again.
    """
    if reason is None:
        return None
    if goes_on and reason not in NOBODY_TEXTS:
        return _GOES_ON
    return REMEDIES.get(reason, _ENDED_AT_META)
