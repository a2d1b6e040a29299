"""The settings of backups in a folder, and of their drill."""

from pathlib import Path

import pyrage

IDENTITY = pyrage.x25519.Identity.generate()


def backup_settings(folder: Path, database_url: str) -> dict[str, str]:
    return {
        "BACKUP_STORE": str(folder),
        "BACKUP_RECIPIENT": str(IDENTITY.to_public()),
        "BACKUP_IDENTITY": str(IDENTITY),
        "DRILL_DATABASE_URL": database_url,
    }
