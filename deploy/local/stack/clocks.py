"""Wrong clocks for services, by Debian's libfaketime. Their monotonic clocks stay right.

https://github.com/wolfcw/libfaketime
"""

from collections.abc import Mapping
from pathlib import Path

PACKAGE = {"faketime": "faketime"}
_LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


class Clocks:
    """A clock for each service, in a file that the service reads once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def environment(self, service: str) -> Mapping[str, str]:
        """Return the environment in which a service reads its clock. The clock is right at first.

        Raise FileNotFoundError if the library is not installed.
        """
        self.set(service, 0)
        library = next((str(path) for p in _LIBRARIES for path in Path("/").glob(p[1:])), None)
        if library is None:
            raise FileNotFoundError("libfaketime: install the package faketime")
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._path(service)),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, service: str, seconds: int) -> None:
        """Make the service's clock wrong by this much."""
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._path(service).with_suffix(".draft")
        draft.write_text(f"{seconds:+d}s\n")
        draft.replace(self._path(service))

    def _path(self, service: str) -> Path:
        return self._folder / service
