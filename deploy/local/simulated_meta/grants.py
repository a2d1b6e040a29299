"""A customer's grant to our app: its code, and the business token that it is exchanged for."""

from dataclasses import dataclass

MANAGEMENT = "whatsapp_business_management"
MESSAGING = "whatsapp_business_messaging"
#: The lifetime of an authorization code (Embedded Signup implementation, Mar 2026).
CODE_SECONDS = 30
EXPIRED = 463


@dataclass(frozen=True, slots=True)
class Grant:
    """`targets` are WABA ids; empty: no WABA; None: all of the business, also future ones.

    `tells_scopes` False: debug_token names none of the scopes, as Meta does of some valid tokens.
    """

    waba_id: str
    business_id: str
    scopes: tuple[str, ...]
    targets: tuple[str, ...] | None
    expires_in_seconds: int = 0
    tells_scopes: bool = True
    data_access_seconds: int = 0


@dataclass(slots=True)
class Code:
    app_id: str
    grant: Grant
    issued_at: float
    seconds: float
    redirect_uri: str
    is_used: bool = False


@dataclass(slots=True)
class Token:
    """`revoked_subcode` is the error subcode of a revoked token; None: it is not revoked."""

    grant: Grant
    issued_at: float
    revoked_subcode: int | None = None

    @property
    def expires_at(self) -> int:
        """Return seconds since 1970; 0 means never, as in debug_token."""
        return self._end(self.grant.expires_in_seconds)

    @property
    def data_access_expires_at(self) -> int:
        """Return seconds since 1970; 0 means never, as in debug_token."""
        return self._end(self.grant.data_access_seconds)

    def _end(self, seconds: int) -> int:
        return int(self.issued_at) + seconds if seconds else 0

    @property
    def user_id(self) -> str:
        """Return the id of the integration system user of the business."""
        return f"9{self.grant.business_id}"

    def error_subcode(self, now: float) -> int | None:
        """Return the error subcode if the token is revoked or expired, else None."""
        is_expired = 0 < self.expires_at <= now
        return self.revoked_subcode or (EXPIRED if is_expired else None)

    def covers(self, waba_id: str, business_id: str) -> bool:
        targets = self.grant.targets
        return business_id == self.grant.business_id if targets is None else waba_id in targets
