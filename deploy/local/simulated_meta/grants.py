"""What a customer grants our app: a code, and the business token it is exchanged for."""

from dataclasses import dataclass

MANAGEMENT = "whatsapp_business_management"
MESSAGING = "whatsapp_business_messaging"
#: An authorization code lives this long (Embedded Signup implementation, Mar 2026).
CODE_SECONDS = 30
EXPIRED = 463


@dataclass(frozen=True, slots=True)
class Grant:
    """`targets` None: all assets of the business, now and in future; empty: none at all."""

    waba_id: str
    business_id: str
    scopes: tuple[str, ...]
    targets: tuple[str, ...] | None
    expires_in_seconds: int = 0


@dataclass(slots=True)
class Code:
    app_id: str
    grant: Grant
    minted_at: float
    seconds: float
    redirect_uri: str
    is_used: bool = False


@dataclass(slots=True)
class Token:
    """`dead` is the subcode it is refused with from now on."""

    grant: Grant
    issued_at: float
    dead: int | None = None

    @property
    def expires_at(self) -> int:
        """0: never, as in debug_token."""
        seconds = self.grant.expires_in_seconds
        return int(self.issued_at) + seconds if seconds else 0

    @property
    def user_id(self) -> str:
        """The business's integration system user."""
        return f"9{self.grant.business_id}"

    def fault(self, now: float) -> int | None:
        """The subcode this token is refused with."""
        is_late = 0 < self.expires_at <= now
        return self.dead or (EXPIRED if is_late else None)

    def covers(self, waba_id: str, business_id: str) -> bool:
        targets = self.grant.targets
        return business_id == self.grant.business_id if targets is None else waba_id in targets
