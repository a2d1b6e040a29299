"""0020: what a customer chose of an earlier login does not count for the next one, up and down."""

import asyncpg
import pytest

from shared.store.migrate import migrate

ADD = """
INSERT INTO organizations (id) VALUES ('bakery') ON CONFLICT DO NOTHING;
INSERT INTO whatsapp_onboarding
    (id, organization_id, tracking_code_hash, expires_at, reason, session_waba_id, token, {choices})
VALUES
    (gen_random_uuid(), 'bakery', 'awaits', now() + interval '1 day', 'waba_choice_needed', NULL,
     'token', {value}),
    (gen_random_uuid(), 'bakery', 'refused', now() + interval '1 day', 'owned_by_another', '71',
     NULL, {value}),
    (gen_random_uuid(), 'bakery', 'under way', now() + interval '1 day', NULL, '71', 'token',
     {value}),
    (gen_random_uuid(), 'bakery', 'named', now() + interval '1 day', 'token_invalid', '71', NULL,
     NULL);
"""
FOUND = """
SELECT convert_from(tracking_code_hash, 'UTF8'), reason, session_waba_id FROM whatsapp_onboarding
"""


@pytest.mark.parametrize(
    ("before", "after", "choices", "value"),
    [
        ("0019", "0020", "waba_choices", "'[]'::jsonb"),
        ("0020", "0019", "sealed_waba_choices", "'sealed'::bytea"),
    ],
)
async def test_a_choice_is_made_anew_with_the_next_login(
    empty_database_url: str, before: str, after: str, choices: str, value: str
) -> None:
    await migrate(empty_database_url, before)
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute(ADD.format(choices=choices, value=value))
        await migrate(empty_database_url, after)
        assert {tuple(row) for row in await conn.fetch(FOUND)} == {
            ("awaits", "session_needed", None),
            ("refused", "owned_by_another", None),
            ("under way", None, "71"),
            ("named", "token_invalid", "71"),
        }
    finally:
        await conn.close()
