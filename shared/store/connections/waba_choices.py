"""The WABAs that a customer may choose from, when one login gave us several.

They are sealed: their names are Meta's text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import orjson

from shared.crypto import KeyRing, associated_data
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class WabaChoice:
    """A WABA that the onboarding's token reaches. `name` None: Meta did not tell it."""

    waba_id: str
    name: str | None


async def save(
    conn: Conn, ring: KeyRing, onboarding_id: UUID, choices: Sequence[WabaChoice]
) -> None:
    """Store the choices. Do nothing if the browser named one WABA meanwhile."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding SET sealed_waba_choices = $2
        WHERE id = $1 AND session_waba_id IS NULL
        """,
        onboarding_id,
        ring.seal(
            orjson.dumps([asdict(choice) for choice in choices]),
            _binding(onboarding_id),
        ),
    )


async def read(conn: Conn, ring: KeyRing, onboarding_id: UUID) -> list[WabaChoice]:
    """Return the choices; none if there are none. May raise Undecryptable."""
    sealed = await conn.fetchval(
        "SELECT sealed_waba_choices FROM whatsapp_onboarding WHERE id = $1", onboarding_id
    )
    return _open(ring, onboarding_id, sealed)


async def choose(conn: Conn, ring: KeyRing, onboarding_id: UUID, waba_id: str) -> bool:
    """Record which WABA the customer chose. Return False if there is no such choice to make. May
    raise Undecryptable."""
    sealed = await conn.fetchval(
        """
        SELECT sealed_waba_choices FROM whatsapp_onboarding
        WHERE id = $1 AND state = 'open' AND proven_at IS NULL AND token IS NOT NULL
            AND expires_at > now() AND session_waba_id IS NULL
        FOR NO KEY UPDATE
        """,
        onboarding_id,
    )
    if waba_id not in [choice.waba_id for choice in _open(ring, onboarding_id, sealed)]:
        return False
    await conn.execute(
        "UPDATE whatsapp_onboarding SET session_waba_id = $2 WHERE id = $1", onboarding_id, waba_id
    )
    return True


def _open(ring: KeyRing, onboarding_id: UUID, sealed: bytes | None) -> list[WabaChoice]:
    if sealed is None:
        return []
    opened = ring.open(sealed, _binding(onboarding_id))
    return [WabaChoice(**choice) for choice in orjson.loads(opened)]


def _binding(onboarding_id: UUID) -> bytes:
    return associated_data("whatsapp_onboarding", onboarding_id.bytes, "sealed_waba_choices")
