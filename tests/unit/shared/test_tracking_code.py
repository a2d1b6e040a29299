"""Tracking codes can be typed at a command line."""

from services.scheduler.admin.onboardings import TRACKING_CODE
from shared.store.connections.tracking_codes import new_code


def test_a_new_code_is_no_option_and_matches_what_operators_may_type() -> None:
    codes = {new_code() for _ in range(2000)}

    assert len(codes) == 2000
    assert [code for code in codes if code.startswith("-")] == []
    assert all(TRACKING_CODE.fullmatch(code) for code in codes)
