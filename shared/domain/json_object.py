"""What a JSON object is to the type checker."""

from typing import Any

Json = dict[str, Any]
