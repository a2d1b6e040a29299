"""The headers that say how much of Meta's limits is used up."""

import json

from pydantic import BaseModel, ConfigDict, Field


class Usage(BaseModel):
    """Percent, and the minutes until calls are let in again (Rate limits page)."""

    model_config = ConfigDict(extra="forbid")

    app: int = Field(1, ge=0)
    business: int = Field(1, ge=0)
    minutes: int = Field(0, ge=0)

    def headers(self, business_id: str | None) -> dict[str, str]:
        """`business_id` is the owner's, for calls about its WABAs and numbers."""
        headers = {"X-App-Usage": json.dumps(_figures(self.app))}
        if business_id is not None:
            used = {
                "type": "whatsapp_business_management",
                **_figures(self.business),
                "estimated_time_to_regain_access": self.minutes,
            }
            headers["X-Business-Use-Case-Usage"] = json.dumps({business_id: [used]})
        return headers


def _figures(percent: int) -> dict[str, int]:
    return {"call_count": percent, "total_cputime": percent, "total_time": percent}
