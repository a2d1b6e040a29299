"""What a test reads of the log."""

from collections.abc import Callable
from typing import Any

#: Must never be in it.
CANARY = "canary-58213"
#: Every line so far, as its JSON object.
Logged = Callable[[], list[dict[str, Any]]]
