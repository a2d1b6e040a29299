"""Define the settings of the services in tests."""

from deploy.local.stack.servers import LOOPBACK, free_port

APP_SECRET = "3b1f0a94c2d85e67f1a2b3c4d5e6f708"  # pragma: allowlist secret
VERIFY_TOKEN = "verify-7f3a9c1e5b2d"
BODY_KEY = (
    "9f2c4e6a8b0d1f3e5c7a9b8d6f4e2c0a1b3d5f7e9c8a6b4d2f0e1c3a5b7d9f81"  # pragma: allowlist secret
)
TOKEN_KEY = (
    "4d7a1c9e3b5f8206a1d4c7e9f0b2a3c5d6e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2"  # pragma: allowlist secret
)
SUBJECT_KEY = (
    "7c5e3a1f9d8b6240e2c4a6f8b0d1e3f5a7c9b8d6e4f2a0c1d3b5e7f9a8c6d4b2"  # pragma: allowlist secret
)
APP_ID = "750000000000001"
SYSTEM_TOKEN = "system-5b8d1e7f2c"


def service_environment(database: str, rabbitmq: str, redis: str) -> dict[str, str]:
    # Nothing listens on this port until a test starts a simulated Meta there.
    meta = f"http://{LOOPBACK}:{free_port()}"
    return {
        "ENVIRONMENT": "local",
        "INSECURE_SERVERS": "database,redis,rabbitmq",  # for tests of production on loopback
        "HOST": LOOPBACK,
        "PORT": str(free_port()),
        "HEALTH_PORT": str(free_port()),
        "DATABASE_URL": database,
        "RABBITMQ_URL": rabbitmq,
        "REDIS_URL": redis,
        "META_APP_SECRET": APP_SECRET,
        "META_WEBHOOK_VERIFY_TOKEN": VERIFY_TOKEN,
        "BODY_ENCRYPTION_KEY": BODY_KEY,
        "TOKEN_ENCRYPTION_KEY": TOKEN_KEY,
        "SUBJECT_HASH_KEY": SUBJECT_KEY,
        "META_APP_ID": APP_ID,
        "META_CONFIG_ID": "760000000000001",
        "META_APP_ACCESS_TOKEN": f"{APP_ID}|{APP_SECRET}",
        "META_SYSTEM_USER_TOKEN": SYSTEM_TOKEN,
        "META_GRAPH_URL": meta,
        "META_DIALOG_URL": meta,
        "META_SDK_URL": f"{meta}/sdk.js",
        "CONSOLE_URL": f"http://{LOOPBACK}:{free_port()}",
    }
