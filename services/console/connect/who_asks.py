"""Read what the page says about the organization, and about the numbers that wait."""

from dataclasses import dataclass

from services.console.api.onboarding import OnboardingAnswer
from shared.actions.number_states import standing
from shared.store.connections import organizations
from shared.store.pool import Pool, now, transaction


@dataclass(frozen=True, slots=True)
class WhoAsks:
    """The organization as customers know it: its name, and the URL of its logo, if it has one."""

    name: str
    logo_url: str | None


async def who_asks(pool: Pool, organization_id: str) -> WhoAsks:
    async with transaction(pool) as conn:
        shown = await organizations.shown_as(conn, organization_id)
    return WhoAsks(shown.display_name or organization_id, shown.logo_url)


@dataclass(frozen=True, slots=True)
class WaitingNumber:
    """A number that does not work yet. `pin_tries_left` None: it waits for no PIN."""

    digits: str
    pin_tries_left: int | None = None


async def waiting_numbers(pool: Pool, answer: OnboardingAnswer) -> list[WaitingNumber]:
    """Return the numbers of the onboarding's connection that do not work yet; none of a connection
    that works."""
    if answer.connection is None or answer.connection.state == "active":
        return []
    async with transaction(pool) as conn:
        plans = await standing(conn, answer.connection.waba_id)
        at = await now(conn)
    return [
        WaitingNumber(
            plan.number.digits,
            plan.number.pin_tries_left(at) if plan.waits_for_pin else None,
        )
        for plan in plans
        if plan.state in ("blocked", "waiting")
    ]
