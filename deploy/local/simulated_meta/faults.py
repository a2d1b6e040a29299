"""Faults on demand: the next Graph calls with a name fail as ordered."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deploy.local.simulated_meta.calls import CallName


class Fault(BaseModel):
    """A fault of one call.

    With `code` or `body`, the call does nothing. Otherwise it does its work, but answers after
    `seconds` or, with `drop`, not at all.
    """

    model_config = ConfigDict(extra="forbid")

    call: CallName
    times: int = Field(1, ge=1)
    subject: str | None = None
    code: int | None = None
    subcode: int | None = None
    status: int = Field(400, ge=200, le=599)
    is_transient: bool | None = None
    headers: dict[str, str] = {}
    seconds: float = Field(0, ge=0)
    drop: bool = False
    body: str | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Fault":
        given = self.model_fields_set
        if self.code is None and given & {"subcode", "is_transient"}:
            raise ValueError("subcode and is_transient need a code")
        if self.code is None and self.body is None and "status" in given:
            raise ValueError("a status needs a code or a body")
        if sum((self.code is not None, self.body is not None, self.drop)) > 1:
            raise ValueError("code, body and drop exclude each other")
        return self


class Faults:
    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> int:
        """Add a fault. Return how many faults are armed."""
        self._armed.append(fault)
        return len(self._armed)

    def clear(self) -> None:
        self._armed.clear()

    def take(self, call: str, subject: str) -> Fault | None:
        """Return the oldest fault for this call and subject, or None. Count it as used once."""
        for fault in self._armed:
            if fault.call == call and fault.subject in {None, subject}:
                fault.times -= 1
                if fault.times == 0:
                    self._armed.remove(fault)
                return fault
        return None
