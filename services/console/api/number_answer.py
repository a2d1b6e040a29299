"""A connection's number, as the API shows it."""

from datetime import UTC, datetime

from pydantic import BaseModel

from services.console.api.remedy_answer import RemedyAnswer, remedy_answer
from shared.domain.numbers import NumberState
from shared.domain.provisioning import NumberPlan
from shared.domain.remedies import remedy


class NumberAnswer(BaseModel):
    """`state`: `working`; `waiting`: it is being set up, or tried again at `next_attempt_at`;
    `blocked`: somebody must act; `left_alone`: the customer did not choose it, so it is registered
    only on request; `unlinked`: its link to the WhatsApp Business app was cut. `status` is Meta's.
    """

    phone_number_id: str
    digits: str
    state: NumberState
    reason: str | None
    remedy: RemedyAnswer | None
    next_attempt_at: datetime | None
    pin_tries_left: int
    pin_refused_until: datetime | None
    status: str
    is_coexistence: bool
    is_registered: bool


def number_answer(plan: NumberPlan) -> NumberAnswer:
    number, at = plan.number, datetime.now(UTC)
    return NumberAnswer(
        phone_number_id=number.phone_number_id,
        digits=number.digits,
        state=plan.state,
        reason=plan.reason,
        remedy=remedy_answer(remedy(plan.reason, goes_on=plan.rests_until is not None)),
        next_attempt_at=plan.rests_until,
        pin_tries_left=number.pin_tries_left(at),
        pin_refused_until=number.pin_refused_until(at),
        status=number.status,
        is_coexistence=number.is_coexistence,
        is_registered=number.is_registered,
    )
