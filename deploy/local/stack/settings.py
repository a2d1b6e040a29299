"""Settings for services that use private servers, without a simulated Meta."""

import secrets

from deploy.local.stack.servers import LOOPBACK, free_port


def service_settings(database_url: str, broker_url: str, redis_url: str) -> dict[str, str]:
    """Return the environment of services on these servers, with new keys."""
    return {
        "ENVIRONMENT": "local",
        "HOST": LOOPBACK,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "RABBITMQ_URL": broker_url,
        "META_APP_SECRET": secrets.token_hex(16),
        "META_WEBHOOK_VERIFY_TOKEN": secrets.token_hex(16),
        "BODY_ENCRYPTION_KEY": secrets.token_hex(32),
        "TOKEN_ENCRYPTION_KEY": secrets.token_hex(32),
        "SUBJECT_HASH_KEY": secrets.token_hex(32),
        "META_APP_ID": "750000000000001",
        "META_APP_ACCESS_TOKEN": secrets.token_hex(16),
        "META_GRAPH_URL": f"http://{LOOPBACK}:{free_port()}",  # nothing calls it
    }
