"""A remedy as the API shows it."""

from pydantic import BaseModel

from shared.domain.remedies import Actor, Language, Remedy


class RemedyAnswer(BaseModel):
    """`who` must act. `texts` may be shown to the customer unchanged; `text` is the English one."""

    who: Actor
    text: str
    texts: dict[Language, str]


def remedy_answer(known_remedy: Remedy | None) -> RemedyAnswer | None:
    """Return a remedy as the API shows it."""
    if known_remedy is None:
        return None
    return RemedyAnswer(
        who=known_remedy.who, text=known_remedy.text, texts=dict(known_remedy.texts)
    )
