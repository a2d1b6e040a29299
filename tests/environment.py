"""The settings services are started with in tests."""

from deploy.local.servers import LOOPBACK, free_port

APP_SECRET = "3b1f0a94c2d85e67f1a2b3c4d5e6f708"  # pragma: allowlist secret
VERIFY_TOKEN = "verify-7f3a9c1e5b2d"
BODY_KEY = (
    "9f2c4e6a8b0d1f3e5c7a9b8d6f4e2c0a1b3d5f7e9c8a6b4d2f0e1c3a5b7d9f81"  # pragma: allowlist secret
)


def service_environment(database: str, rabbitmq: str, redis: str) -> dict[str, str]:
    return {
        "ENVIRONMENT": "local",
        "HOST": LOOPBACK,
        "PORT": str(free_port()),
        "HEALTH_PORT": str(free_port()),
        "DATABASE_URL": database,
        "RABBITMQ_URL": rabbitmq,
        "REDIS_URL": redis,
        "META_APP_SECRET": APP_SECRET,
        "META_WEBHOOK_VERIFY_TOKEN": VERIFY_TOKEN,
        "BODY_ENCRYPTION_KEY": BODY_KEY,
    }
