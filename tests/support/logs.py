"""What tests read from the log."""

from collections.abc import Callable
from typing import Any

#: Must never be in the log.
CANARY = "canary-58213"
#: Returns every line logged so far, as a dict.
Logged = Callable[[], list[dict[str, Any]]]
