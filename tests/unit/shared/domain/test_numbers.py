"""Numbers of one WABA, each with a story of its own: none decides for another."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.facts import Fact, NumberLink
from shared.domain.graph_errors import GraphError, MetaThrottled, MetaUnavailable, graph_error
from shared.domain.numbers import (
    MAX_REGISTER_CALLS,
    REGISTER_WINDOW,
    KnownNumber,
    Login,
    NumberState,
    after_number_failure,
    is_about_number,
)
from shared.domain.provisioning import SYNCS, Plan, Step, number_plans, plan

NOW = datetime(2026, 11, 1, tzinfo=UTC)
RETRY_SECONDS = (30, 300, 1800)
WABA_STEPS = [Step("read_numbers"), Step("subscribe")]


@dataclass
class AtMeta:
    """A number at Meta. `errors` are what its next calls answer, as (code, subcode)."""

    on_app: bool = False
    connected: bool = False
    status: str = "PENDING"
    is_verified: bool = True
    errors: list[tuple[int | None, int | None]] = field(default_factory=list)


NUMBERS = st.builds(
    AtMeta,
    on_app=st.booleans(),
    connected=st.booleans(),
    status=st.sampled_from(["PENDING", "DISCONNECTED", "CONNECTED", "BANNED"]),
    is_verified=st.booleans(),
    errors=st.lists(
        st.sampled_from(
            [
                (133005, None),
                (133006, None),
                (133016, None),
                (100, 2388001),
                (2, None),
                (None, None),
            ]
        ),
        max_size=12,
    ),
)
LOGINS = st.builds(Login, st.sampled_from([None, "0", "1", "9"]), st.booleans())


class Setup:
    """Set up a WABA as the processor does, in simulated time, until nothing is left to be done."""

    def __init__(self, numbers: dict[str, AtMeta], login: Login) -> None:
        self.at_meta = {
            name: replace(each, errors=[*each.errors]) for name, each in numbers.items()
        }
        self.login = login
        self.now = NOW
        self.done: list[Step] = [*WABA_STEPS]
        self.known = {
            name: KnownNumber(
                name, f"1555{name}", each.on_app, each.connected, each.status, each.is_verified
            )
            for name, each in numbers.items()
        }
        self.calls: list[tuple[Step, datetime]] = []

    def plan(self) -> Plan:
        return plan(
            list(self.known.values()), self.done, self.login, webhooks_arrive=True, now=self.now
        )

    def run(self) -> None:
        for _ in range(500):
            next_steps = self.plan()
            if next_steps.step is not None:
                self.take(next_steps.step)
            elif next_steps.until is not None:
                self.now = next_steps.until
            else:
                return
        raise AssertionError("it never ends")

    def take(self, step: Step) -> None:
        number = self.known[step.phone_number_id]
        at_meta = self.at_meta[step.phone_number_id]
        self.calls.append((step, self.now))
        if step.name == "register":
            number = replace(number, register_calls=[*number.register_calls, self.now])
        if at_meta.errors:
            error = graph_error(*at_meta.errors.pop(0))
            failure = after_number_failure(number, error, RETRY_SECONDS, self.now)
            retry_at = self.now + failure.retry_after if failure.retry_after else None
            number = replace(
                number, failure=failure.reason, retry_at=retry_at, attempts=number.attempts + 1
            )
        else:
            self.done.append(step)
            is_registered = number.is_registered or step.name == "register"
            number = replace(number, is_registered=is_registered, failure=None, retry_at=None)
        self.known[step.phone_number_id] = number

    def states(self) -> dict[str, tuple[NumberState, str | None]]:
        plans = number_plans(
            list(self.known.values()), self.done, self.login, webhooks_arrive=True, now=self.now
        )
        return {each.number.phone_number_id: (each.state, each.reason) for each in plans}


@given(st.lists(NUMBERS, min_size=1, max_size=5), LOGINS)
def test_each_number_ends_as_it_would_alone(numbers: list[AtMeta], login: Login) -> None:
    if login.is_coexistence and not any(number.on_app for number in numbers):
        login = replace(login, is_coexistence=False)  # then Meta may be late: see below
    together = Setup({str(n): number for n, number in enumerate(numbers)}, login)
    together.run()
    for name, number in together.at_meta.items():
        original = numbers[int(name)]
        others = {} if number.on_app or not login.is_coexistence else {"9": AtMeta(on_app=True)}
        alone = Setup({name: original, **others}, login)
        alone.run()
        assert together.states()[name] == alone.states()[name]
        calls = [step for step, _ in together.calls if step.phone_number_id == name]
        assert calls == [step for step, _ in alone.calls if step.phone_number_id == name]


@given(st.lists(NUMBERS, min_size=1, max_size=5), LOGINS)
def test_no_call_that_a_numbers_state_forbids(numbers: list[AtMeta], login: Login) -> None:
    setup = Setup({str(n): number for n, number in enumerate(numbers)}, login)
    setup.run()
    for step, at in setup.calls:
        number = numbers[int(step.phone_number_id)]
        if step.name == "register":
            assert not number.on_app
            assert not number.connected
            assert number.is_verified
            is_named = login.phone_number_id in (None, step.phone_number_id)
            assert is_named or number.status == "DISCONNECTED"
            window = [
                when
                for other, when in setup.calls
                if other == step and at - REGISTER_WINDOW < when <= at
            ]
            assert len(window) <= MAX_REGISTER_CALLS
        else:
            assert number.on_app or login.is_coexistence
    end = setup.plan()
    works = any(state == "working" for state, _ in setup.states().values())
    assert end.works == works
    assert (end.reason is None) == works


@given(st.permutations(range(4)))
def test_the_order_in_which_meta_lists_them_changes_nothing(order: Sequence[int]) -> None:
    numbers = [
        AtMeta(), AtMeta(is_verified=False), AtMeta(on_app=True), AtMeta(errors=[(133005, None)]),
    ]  # fmt: skip
    setup = Setup({str(n): numbers[n] for n in order}, Login())
    setup.run()
    assert setup.states() == {
        "0": ("working", None),
        "1": ("blocked", "not_verified"),
        "2": ("working", None),
        "3": ("blocked", "pin_needed"),
    }


def test_a_number_that_waits_holds_up_no_other() -> None:
    setup = Setup({"0": AtMeta(errors=[(133016, None)]), "1": AtMeta()}, Login())
    while (next_steps := setup.plan()).step is not None:
        setup.take(next_steps.step)
    assert next_steps.works
    assert (next_steps.waits_for, next_steps.until) == ("numbers_wait", NOW + REGISTER_WINDOW)
    assert setup.states() == {"0": ("waiting", "register_limited"), "1": ("working", None)}


def test_the_number_that_the_login_named_comes_first_and_others_are_left_alone() -> None:
    setup = Setup({"0": AtMeta(), "1": AtMeta(), "2": AtMeta(status="DISCONNECTED")}, Login("1"))
    setup.run()
    registered = [step.phone_number_id for step, _ in setup.calls]
    assert registered == ["1", "2"]
    assert setup.states()["0"] == ("left_alone", None)


def test_without_a_number_there_is_nothing_that_works() -> None:
    assert plan([], WABA_STEPS, Login(), webhooks_arrive=True, now=NOW) == Plan(
        None, works=False, reason="no_number"
    )


def test_a_number_connected_elsewhere_is_not_taken_from_there() -> None:
    setup = Setup({"0": AtMeta(status="CONNECTED")}, Login())
    setup.run()
    assert setup.calls == []
    assert setup.plan().reason == "number_elsewhere"


def test_metas_word_that_a_number_is_on_the_app_may_come_late() -> None:
    setup = Setup({"0": AtMeta()}, Login(is_coexistence=True))
    setup.run()
    assert [step.name for step, _ in setup.calls] == list(SYNCS)


def test_a_wrong_pin_of_a_person_is_told_and_the_third_is_the_last() -> None:
    number = KnownNumber("0", "1555", is_coexistence=False, is_registered=False, is_pin_given=True)
    mismatch = graph_error(133005)
    seen = []
    for tries in range(3):
        at = NOW + timedelta(hours=tries)
        failure = after_number_failure(number, mismatch, RETRY_SECONDS, at)
        number = replace(number, failure=failure.reason, wrong_pins=[*number.wrong_pins, at])
        seen.append((failure.reason, number.pin_tries_left(at)))
    assert seen == [("pin_wrong", 2), ("pin_wrong", 1), ("pin_limited", 0)]
    assert number.pin_refused_until(NOW + timedelta(hours=3)) == NOW + REGISTER_WINDOW
    assert number.pin_refused_until(NOW + REGISTER_WINDOW) is None


def test_a_pin_that_we_made_is_not_a_persons_mistake() -> None:
    number = KnownNumber("0", "1555", is_coexistence=False, is_registered=False)
    failure = after_number_failure(number, graph_error(133005), RETRY_SECONDS, NOW)
    assert (failure.reason, failure.is_wrong_pin) == ("pin_needed", False)


def test_a_cut_link_is_that_numbers_alone() -> None:
    cut = NumberLink(Fact("phone_link", "change_number", NOW, "15550"), NOW)
    numbers = [
        KnownNumber("0", "15550", is_coexistence=True, is_registered=True, link=cut),
        KnownNumber("1", "15551", is_coexistence=False, is_registered=True),
    ]
    plans = number_plans(numbers, [], Login(), webhooks_arrive=True, now=NOW)
    assert [(each.state, each.reason, each.steps) for each in plans] == [
        ("unlinked", "change_number", []), ("working", None, []),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (graph_error(133005), True), (graph_error(133006), True), (graph_error(133016), True),
        (graph_error(100, 2388001), True), (graph_error(2), True), (graph_error(77), True),
        (graph_error(4), False), (graph_error(80008), False), (graph_error(190), False),
        (graph_error(368), False), (graph_error(10), False), (graph_error(100, 33), False),
        (MetaThrottled(60), False), (MetaUnavailable("meta_unavailable"), False),
    ],
)  # fmt: skip
def test_which_errors_say_nothing_of_other_numbers(error: GraphError, expected: bool) -> None:
    assert is_about_number(error) is expected
