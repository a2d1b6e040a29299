"""How long what is stored is kept."""

from typing import Annotated

from pydantic import Field

from shared.settings.groups import DatabaseSettings

Days = Annotated[int, Field(ge=1, le=3650)]
#: A change's key recognizes what Meta sends again, for seven days and a little more.
DaysOfKeys = Annotated[int, Field(ge=8, le=3650)]


class RetentionSettings(DatabaseSettings):
    retention_body_days: Days = Field(35, description="days that a webhook's body is kept")
    retention_log_days: DaysOfKeys = Field(
        35, description="days, 8 at least, that a settled webhook and its changes are kept"
    )
    retention_event_days: Days = Field(
        8, description="days that a published event, and its change's content, are kept"
    )
    retention_orphan_days: Days = Field(
        90, description="days that the content of a change is kept that nobody owns"
    )
    retention_letter_days: Days = Field(
        30, description="days until an open dead letter is closed as discarded"
    )
    retention_done_days: Days = Field(
        30,
        description="days that closed letters, done follow-ups and failed calls are kept",
    )
    retention_key_days: Days = Field(
        365, description="days that an API key is listed after it expired or was revoked"
    )
    retention_run_days: Days = Field(90, description="days that the runs of jobs are kept")
    retention_audit_days: Days = Field(400, description="days that the audit log is kept")
