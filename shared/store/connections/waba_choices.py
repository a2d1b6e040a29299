"""The WABAs that a customer may choose from, when one login gave us several."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import orjson

from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class WabaChoice:
    """A WABA that the onboarding's token reaches. `name` None: Meta did not tell it."""

    waba_id: str
    name: str | None


async def save(conn: Conn, onboarding_id: UUID, choices: Sequence[WabaChoice]) -> None:
    """Store the choices. Do nothing if the browser named one WABA meanwhile."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding SET waba_choices = $2
        WHERE id = $1 AND session_waba_id IS NULL
        """,
        onboarding_id,
        orjson.dumps([asdict(choice) for choice in choices]).decode(),
    )


async def read(conn: Conn, onboarding_id: UUID) -> list[WabaChoice]:
    stored = await conn.fetchval(
        "SELECT waba_choices::text FROM whatsapp_onboarding WHERE id = $1", onboarding_id
    )
    return [WabaChoice(**choice) for choice in orjson.loads(stored or "[]")]


async def choose(conn: Conn, onboarding_id: UUID, waba_id: str) -> bool:
    """Record which WABA the customer chose. Return False if there is no such choice to make."""
    status = await conn.execute(
        """
        UPDATE whatsapp_onboarding SET session_waba_id = $2
        WHERE id = $1 AND state = 'open' AND proven_at IS NULL AND token IS NOT NULL
            AND expires_at > now() AND session_waba_id IS NULL
            AND waba_choices @> jsonb_build_array(jsonb_build_object('waba_id', $2::text))
        """,
        onboarding_id,
        waba_id,
    )
    return status == "UPDATE 1"
