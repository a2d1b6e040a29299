"""The settings of backups. Whoever makes them cannot read them."""

from typing import Annotated

import pyrage
from pydantic import AfterValidator, Field, SecretStr

from shared.settings.groups import BodyKeySettings, DatabaseSettings, TokenKeySettings
from shared.settings.validators import url


def _recipient(value: str) -> str:
    try:
        pyrage.x25519.Recipient.from_str(value)
    except pyrage.RecipientError:
        raise ValueError from None
    return value


def _identity(value: SecretStr) -> SecretStr:
    try:
        pyrage.x25519.Identity.from_str(value.get_secret_value())
    except pyrage.IdentityError:
        raise ValueError from None
    return value


def _store(value: str) -> str:
    """Return a bucket, or a folder's absolute path. Else raise ValueError."""
    if not value.startswith(("s3://", "/")) or value in ("s3://", "/"):
        raise ValueError
    return value


class BackupStoreSettings(DatabaseSettings):
    backup_store: Annotated[str, AfterValidator(_store)] = Field(
        description="s3://bucket/prefix, or the absolute path of a folder; for S3 the AWS_..."
        " variables name credentials, region and endpoint"
    )


class BackupSettings(BackupStoreSettings):
    backup_recipient: Annotated[str, AfterValidator(_recipient)] = Field(
        description="the public key that backups are encrypted for, age1...: age-keygen makes it"
    )
    backup_keep: Annotated[int, Field(ge=1, le=1000)] = Field(
        14, description="how many backups are kept, the newest"
    )


class RestoreSettings(BackupStoreSettings):
    backup_identity: Annotated[SecretStr, AfterValidator(_identity)] = Field(
        description="the private key of BACKUP_RECIPIENT, AGE-SECRET-KEY-1..."
    )


class RestoreDrillSettings(RestoreSettings, BodyKeySettings, TokenKeySettings):
    drill_database_url: Annotated[SecretStr, url("postgresql", "postgres")] = Field(
        description="a database of a scratch server whose user may create databases"
    )
