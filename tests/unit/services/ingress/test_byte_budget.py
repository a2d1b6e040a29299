"""No stranger takes the room of signed webhooks: what arrived counts, not what was promised."""

from contextlib import ExitStack

import pytest

from services.ingress.byte_budget import (
    MAX_BYTES,
    MAX_OF_STRANGER,
    MAX_OF_STRANGERS,
    SIGNED_SECONDS,
    BudgetSpent,
    ByteBudget,
)

MB = 1024 * 1024


async def test_a_client_holds_only_so_much_before_its_signature_is_checked() -> None:
    budget = ByteBudget()
    with budget.unverified("ana") as first, budget.unverified("ana") as second:
        first(MAX_OF_STRANGER - 1)
        second(1)
        with pytest.raises(BudgetSpent):
            second(1)
        with budget.unverified("bia") as other:
            other(MB)
    assert budget.bytes == 0
    with budget.unverified("ana") as first:  # what ended is room again
        first(MAX_OF_STRANGER)


async def test_all_strangers_together_leave_room_for_whoever_signed() -> None:
    budget = ByteBudget()
    budget.signed("meta")
    with ExitStack() as stack:
        for number in range(MAX_OF_STRANGERS // (4 * MB)):
            stack.enter_context(budget.unverified(f"stranger {number}"))(4 * MB)
        with pytest.raises(BudgetSpent), budget.unverified("one more") as arrived:
            arrived(1)
        with budget.unverified("meta") as arrived:
            arrived(3 * MB)
            arrived(MAX_OF_STRANGER)
        with budget.verified(MAX_BYTES - MAX_OF_STRANGERS):
            pass
    assert budget.bytes == 0


async def test_verified_bodies_fill_the_whole_room_and_no_more() -> None:
    budget = ByteBudget()
    with budget.verified(MAX_BYTES), pytest.raises(BudgetSpent), budget.verified(1):
        pass
    with budget.verified(1):
        assert budget.bytes == 1


async def test_a_signature_counts_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = ByteBudget()
    budget.signed("meta")
    with budget.unverified("stranger") as filling:
        with ExitStack() as stack:
            filling(MAX_OF_STRANGER)
            for number in range(MAX_OF_STRANGERS // MAX_OF_STRANGER - 1):
                stack.enter_context(budget.unverified(str(number)))(MAX_OF_STRANGER)
            now = budget._loop.time()
            monkeypatch.setattr(budget._loop, "time", lambda: now + SIGNED_SECONDS)
            with pytest.raises(BudgetSpent), budget.unverified("meta") as arrived:
                arrived(1)
