"""A customer who logs in again is judged by the new login alone."""

from tests.support.onboarding_setup import Installation
from tests.support.simulated import WABA, number

OTHER = "720000000000031"


async def test_the_account_of_an_earlier_message_blocks_no_later_login(
    installation: Installation,
) -> None:
    await installation.meta.put_waba(number())
    await installation.meta.put_waba(
        number("740000000000091", display_phone_number="15550001119"), waba_id=OTHER
    )
    code = await installation.start_onboarding()
    await installation.post_session(code, {"event": "FINISH", "data": {"waba_id": WABA}})
    for reason in ("waba_not_granted", None):  # in the same window, which sends no message
        signup = await installation.meta.sign_up(waba_id=OTHER, webhooks=True)
        await installation.post_code(code, signup["code"])
        if reason:
            await installation.until(code, reason=reason)
    assert (await installation.until_active(code))["waba_id"] == OTHER


async def test_a_new_code_replaces_a_token_that_was_not_proven(installation: Installation) -> None:
    """A redirect told no account. The popup's message comes first, then its code."""
    await installation.meta.put_waba(number())
    await installation.meta.put_waba(
        number("740000000000091", display_phone_number="15550001119"), waba_id=OTHER
    )
    code = await installation.start_onboarding()
    first = await installation.meta.sign_up(waba_id=OTHER, tells_scopes=False)
    await installation.post_code(code, first["code"])
    await installation.until(code, reason="session_needed")
    slow = {"call": "debug_token", "seconds": 1.0}  # the proof with the old token is under way
    await installation.meta.order("POST", "faults", slow)
    second = await installation.meta.sign_up(webhooks=True)
    await installation.post_session(code, second["message"])
    await installation.post_code(code, second["code"])
    assert (await installation.until_active(code))["waba_id"] == WABA
