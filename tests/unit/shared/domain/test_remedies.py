"""Say who can mend what is wrong, and how."""

import ast
from pathlib import Path
from typing import get_args

import pytest

from shared.domain.customer_remedies import CustomerReason
from shared.domain.operator_remedies import NobodyReason, OperatorReason
from shared.domain.remedies import REMEDIES, remedy

TESTS = Path(__file__).parents[3]
DOCUMENT = TESTS.parent / "docs" / "reasons.md"


def test_nothing_wrong_needs_no_remedy() -> None:
    assert remedy(None) is None
    assert remedy(None, goes_on=True) is None


def test_work_that_goes_on_by_itself_asks_nobody_to_act() -> None:
    going_on = remedy("failed", goes_on=True)
    assert going_on is not None
    assert (going_on.who, going_on.text) == (
        "nobody", "This takes longer than usual. We try again automatically.",
    )  # fmt: skip
    stopped = remedy("failed")
    assert stopped is not None
    assert stopped.who == "operator"


def test_a_wait_keeps_its_own_explanation_while_the_work_goes_on() -> None:
    assert remedy("awaiting_webhook", goes_on=True) == remedy("awaiting_webhook")


def test_an_end_that_only_meta_can_explain_is_mended_by_connecting_again() -> None:
    unknown = remedy("a_reason_of_next_year")
    assert unknown is not None
    assert (unknown.who, unknown.text) == (
        "customer", "The connection ended at Meta's side. Connect it again.",
    )  # fmt: skip


def test_each_reason_has_its_words_in_both_languages() -> None:
    reasons = {*get_args(CustomerReason), *get_args(OperatorReason), *get_args(NobodyReason)}
    assert set(REMEDIES) == reasons
    for reason, known in REMEDIES.items():
        english, portuguese = known.texts["en"], known.texts["pt-BR"]
        assert english != portuguese, reason
        for text in (english, portuguese):
            assert text.endswith("."), reason
            assert "  " not in text, reason


def test_each_reason_is_reached_by_a_test() -> None:
    """A file of tests that names a reason waits until it is told, or judges it."""
    named = {
        node.value
        for file in TESTS.rglob("test_*.py")
        if file != Path(__file__)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(REMEDIES) <= named, sorted(set(REMEDIES) - named)


@pytest.mark.parametrize("reason", sorted(REMEDIES))
def test_the_document_lists_each_reason(reason: str) -> None:
    """To mend it, write the missing row into the document's table."""
    known = REMEDIES[reason]
    row = f"| `{reason}` | {known.who} | {known.texts['en']} | {known.texts['pt-BR']} |"
    assert row in DOCUMENT.read_text().splitlines()
