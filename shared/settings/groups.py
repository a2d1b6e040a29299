"""Groups of settings. Each field is read from the environment variable of the same name in upper
case."""

from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.domain.retries import RETRY_SECONDS
from shared.domain.schedule import TIME_ZONE
from shared.settings.validators import (
    COMMA_SEPARATED,
    rising,
    same_id,
    secret,
    strong_key,
    url,
    valid_crash_at,
    zone,
)

#: The Graph API.
META_GRAPH_URL = "https://graph.facebook.com"


class Environment(StrEnum):
    PRODUCTION = "production"
    STAGING = "staging"
    LOCAL = "local"


AppSecret = Annotated[SecretStr, secret(r"[\x21-\x2b\x2d-\x7e]{16,128}")]
Key = Annotated[SecretStr, AfterValidator(strong_key)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """The settings of every process. A service adds the groups below that it uses."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    environment: Environment = Field(
        Environment.PRODUCTION, description="production, staging or local"
    )
    insecure_servers: Annotated[
        tuple[Literal["database", "redis", "rabbitmq"], ...], *COMMA_SEPARATED
    ] = Field(
        (),
        description="comma-separated database, redis, rabbitmq: what production may reach without"
        " TLS or a password, because the network between is trusted",
    )
    crash_at: Annotated[str, AfterValidator(valid_crash_at)] | None = Field(
        None, description="name[:n[:KILL|STOP]], to test a crash; never in production"
    )


class ProcessSettings(Settings):
    """The settings of every long-running process, which answers probes on a port of its own."""

    host: str = Field("0.0.0.0", description="the address to listen on")
    health_port: Port = Field(9090, description="a port for /healthz, /readyz and /metrics")


class DatabaseSettings(Settings):
    database_url: Annotated[SecretStr, url("postgresql", "postgres")] = Field(
        description="postgresql://user:password@host:port/database"  # pragma: allowlist secret
    )


class RedisSettings(Settings):
    redis_url: Annotated[SecretStr, url("redis", "rediss")] = Field(
        description="redis://[:password@]host:port/db, or rediss:// for TLS"
    )


class BrokerSettings(Settings):
    rabbitmq_url: Annotated[SecretStr, url("amqp", "amqps")] = Field(
        description="amqp[s]://user:password@host:port/vhost"  # pragma: allowlist secret
    )


class RetrySettings(Settings):
    retry_seconds: Annotated[tuple[int, ...], *COMMA_SEPARATED, AfterValidator(rising)] = Field(
        RETRY_SECONDS, description="rising delays in whole seconds, comma-separated"
    )


class TopologySettings(BrokerSettings, RetrySettings):
    pass


class ProxySettings(Settings):
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], *COMMA_SEPARATED] = Field(
        (),
        description="comma-separated networks of the proxies in front; their X-Forwarded-For is"
        " trusted",
    )


class OrganizationLimitSettings(Settings):
    limit_per_organization: Annotated[int, Field(ge=1)] = Field(
        100,
        description="API requests a minute about one organization, and its webhooks that keep the"
        " fast lane while webhooks wait",
    )


class AddressLimitSettings(ProxySettings):
    limit_per_address: Annotated[int, Field(ge=1)] = Field(
        1000, description="requests a minute of one address: at the ingress, unsigned ones only"
    )


class ScheduleSettings(Settings):
    schedule_time_zone: Annotated[str, AfterValidator(zone)] = Field(
        TIME_ZONE, description="the zone of the scheduled jobs' hours, such as America/Sao_Paulo"
    )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.schedule_time_zone)


class BodyKeySettings(Settings):
    body_encryption_key: Key = Field(
        description="64 hex characters from a random source: openssl rand -hex 32"
    )
    body_encryption_keys_previous: Annotated[tuple[Key, ...], *COMMA_SEPARATED] = Field(
        (), description="comma-separated older keys of 64 hex characters, only to decrypt"
    )

    @property
    def body_keys(self) -> list[bytes]:
        """The newest key first."""
        return _as_bytes(self.body_encryption_key, *self.body_encryption_keys_previous)


class SubjectKeySettings(Settings):
    subject_hash_key: Key = Field(
        description="64 hex characters from a random source: openssl rand -hex 32"
    )
    subject_hash_keys_previous: Annotated[tuple[Key, ...], *COMMA_SEPARATED] = Field(
        (), description="comma-separated older keys of 64 hex characters, only to find people"
    )

    @property
    def subject_keys(self) -> list[bytes]:
        """The newest key first."""
        return _as_bytes(self.subject_hash_key, *self.subject_hash_keys_previous)


class TokenKeySettings(Settings):
    token_encryption_key: Key = Field(
        description="64 hex characters from a random source: openssl rand -hex 32"
    )
    token_encryption_keys_previous: Annotated[tuple[Key, ...], *COMMA_SEPARATED] = Field(
        (), description="comma-separated older keys of 64 hex characters, only to decrypt"
    )

    @property
    def token_keys(self) -> list[bytes]:
        """The newest key first."""
        return _as_bytes(self.token_encryption_key, *self.token_encryption_keys_previous)


class AppSecretSettings(Settings):
    meta_app_secret: AppSecret = Field(
        description="the app secret from Meta's dashboard: 16 to 128 printable characters"
    )


class GraphSettings(AppSecretSettings):
    """The settings for calls to Meta. NEXT_PUBLIC_META_APP_ID must not contradict META_APP_ID."""

    next_public_meta_app_id: str = Field("", description="unset or the same as META_APP_ID")
    meta_app_id: str = Field(
        "",
        validate_default=True,
        description="the app's id from Meta's dashboard, digits; NEXT_PUBLIC_META_APP_ID must be"
        " unset or the same",
    )
    meta_app_access_token: Annotated[SecretStr, secret(r"[\x21-\x7e]{8,512}")] = Field(
        description="the app's own token: the app's id, `|`, the app secret"
    )
    meta_system_user_token: Annotated[SecretStr, secret(r"[\x21-\x7e]{8,1024}")] | None = Field(
        None,
        description="your system user's token, to fetch a customer's token without the customer",
    )
    meta_graph_url: str = Field(
        META_GRAPH_URL,
        description=f"{META_GRAPH_URL}; in production no other URL",
    )
    meta_graph_version: Annotated[str, StringConstraints(pattern=r"^v[0-9]{2}\.0$")] = Field(
        "v25.0", description="a version of the Graph API, such as v25.0"
    )

    @field_validator("meta_app_id")
    @classmethod
    def _same_app_id(cls, value: str, info: ValidationInfo) -> str:
        return same_id(value, info.data.get("next_public_meta_app_id"))

    @field_validator("meta_graph_url")
    @classmethod
    def _only_metas_graph_url(cls, value: str, info: ValidationInfo) -> str:
        """Raise ValueError unless it is Meta's or, outside production, an https or local URL."""
        parts = urlsplit(value)
        is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        is_production = info.data.get("environment") is Environment.PRODUCTION
        if value != META_GRAPH_URL and (is_production or not (is_local or parts.scheme == "https")):
            raise ValueError
        return value


class MetaAppSettings(AppSecretSettings):
    meta_app_secret_previous: Annotated[tuple[AppSecret, ...], *COMMA_SEPARATED] = Field(
        (), description="comma-separated app secrets that are still accepted"
    )
    meta_webhook_verify_token: Annotated[SecretStr, secret(r"[\x21-\x7e]{8,256}")] = Field(
        description="the verify token entered in Meta's dashboard: 8 to 256 printable characters"
    )


def _as_bytes(*keys: SecretStr) -> list[bytes]:
    return [bytes.fromhex(key.get_secret_value()) for key in keys]
