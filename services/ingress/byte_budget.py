"""Bound the bytes of bodies in memory, so that no stranger takes the room of signed webhooks.

Bytes count when they arrive, not when a header promises them.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Bodies that are being read or are not yet durable. Above it the ingress answers 503, and Meta
#: sends the webhook again later.
MAX_BYTES = 64 * 1024 * 1024
#: Of it, bytes of bodies whose signature is not checked yet, of one client: one that has signed
#: nothing for SIGNED_SECONDS, and one that has. Meta sends large bodies side by side.
MAX_OF_STRANGER = 8 * 1024 * 1024
MAX_OF_SIGNER = 40 * 1024 * 1024
#: Of it, such bytes of all clients that have signed nothing for SIGNED_SECONDS.
MAX_OF_STRANGERS = 24 * 1024 * 1024
SIGNED_SECONDS = 600.0
#: How many clients that signed are remembered.
MAX_SIGNERS = 1000


class BudgetSpent(Exception):
    """There is no room for more bytes now."""


class ByteBudget:
    def __init__(self) -> None:
        self.bytes = 0
        self._unverified: Counter[str] = Counter()
        self._of_strangers = 0
        self._signed_at: OrderedDict[str, float] = OrderedDict()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def verified(self, size: int) -> Iterator[None]:
        """Count the bytes of a signed body during the block. Raise BudgetSpent."""
        self._add(size)
        try:
            yield
        finally:
            self.bytes -= size

    @contextmanager
    def unverified(self, client: str) -> Iterator[Callable[[int], None]]:
        """Count bytes of a body that is being read, until the block ends.

        Yield the function to call with the number of bytes that arrived: it raises BudgetSpent.
        """
        is_stranger = not self._has_signed(client)
        most = MAX_OF_STRANGER if is_stranger else MAX_OF_SIGNER
        counted = 0

        def arrived(size: int) -> None:
            nonlocal counted
            if self._unverified[client] + size > most:
                raise BudgetSpent
            if is_stranger and self._of_strangers + size > MAX_OF_STRANGERS:
                raise BudgetSpent
            self._add(size)
            counted += size
            self._unverified[client] += size
            self._of_strangers += size if is_stranger else 0

        try:
            yield arrived
        finally:
            self.bytes -= counted
            self._of_strangers -= counted if is_stranger else 0
            self._unverified[client] -= counted
            if not self._unverified[client]:
                del self._unverified[client]

    def signed(self, client: str) -> None:
        """Remember that this client sent a body with a right signature."""
        self._signed_at[client] = self._loop.time()
        self._signed_at.move_to_end(client)
        if len(self._signed_at) > MAX_SIGNERS:
            self._signed_at.popitem(last=False)

    def _has_signed(self, client: str) -> bool:
        at = self._signed_at.get(client)
        return at is not None and self._loop.time() - at < SIGNED_SECONDS

    def _add(self, size: int) -> None:
        if self.bytes + size > MAX_BYTES:
            raise BudgetSpent
        self.bytes += size
