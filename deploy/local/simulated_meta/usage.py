"""The headers that say how much of Meta's rate limits is used."""

import json

from pydantic import BaseModel, ConfigDict, Field


class Usage(BaseModel):
    """Used percent of the limits, and minutes until calls are allowed again (Rate limits page)."""

    model_config = ConfigDict(extra="forbid")

    app: int = Field(1, ge=0)
    business: int = Field(1, ge=0)
    minutes: int = Field(0, ge=0)

    def headers(self, business_id: str | None) -> dict[str, str]:
        """Return the headers. `business_id` is the owner of the WABA or number of the call."""
        headers = {"X-App-Usage": json.dumps(_figures(self.app))}
        if business_id is not None:
            usage = {
                "type": "whatsapp_business_management",
                **_figures(self.business),
                "estimated_time_to_regain_access": self.minutes,
            }
            headers["X-Business-Use-Case-Usage"] = json.dumps({business_id: [usage]})
        return headers


def _figures(percent: int) -> dict[str, int]:
    return {"call_count": percent, "total_cputime": percent, "total_time": percent}
