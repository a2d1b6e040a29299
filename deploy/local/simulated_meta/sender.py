"""Send webhooks as Meta does: again and again until each is answered 200, or a week is over."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

from deploy.local.simulated_meta.writing import Signature, headers

#: Meta retries at once, then a few times with decreasing frequency for up to 7 days
#: (Webhooks overview, Apr 2026). Here the delays are seconds.
RETRY_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
ANSWER_SECONDS = 10.0
CONCURRENCY = 32
MAX_SENT = 10_000


@dataclass(slots=True)
class Sent:
    """A webhook and its last POST. `status` 0 means no answer; `seconds` is how long it took."""

    number: int
    bytes: int
    signature: Signature
    attempts: int = 0
    status: int = 0
    seconds: float = 0.0
    is_over: bool = False


class Sender:
    """Send to the callback URLs in turn: they are the doors of one installation."""

    def __init__(
        self, session: aiohttp.ClientSession, callback_urls: Sequence[str], secret: str
    ) -> None:
        self._session = session
        self._callback_urls = callback_urls
        self._secret = secret
        self._sent: deque[Sent] = deque(maxlen=MAX_SENT)
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._background_tasks: set[asyncio.Task[Any]] = set()
        self._count = 0

    async def send(self, bodies: Sequence[bytes], signature: Signature) -> list[Sent]:
        """POST each body once and return the results. Retry the refused ones in the background."""
        return list(await asyncio.gather(*(self._send(body, signature) for body in bodies)))

    def send_in_background(self, body: bytes) -> None:
        """POST the body as `send` does, but do not wait for the answer."""
        self._run_in_background(asyncio.create_task(self._send(body, "right")))

    async def move(self, callback_url: str, verify_token: str) -> str | None:
        """Send later webhooks to this URL alone, if it answers 200 and the challenge.

        Else return what is wrong with it (Create a webhook endpoint, Apr 2026).
        """
        challenge = str(secrets.randbelow(10**9))
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": verify_token,
        }
        try:
            async with self._session.get(
                callback_url,
                params=query,
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    return f"HTTP Status Code = {answer.status}"
                if (await answer.text()).strip() != challenge:
                    return "the body is not hub.challenge"
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return "the URL couldn't be reached"
        self._callback_urls = [callback_url]
        return None

    def sent(self) -> list[dict[str, Any]]:
        """Return the last webhooks, oldest first."""
        return [asdict(sent) for sent in self._sent]

    async def close(self) -> None:
        """Stop the retries."""
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)

    async def _send(self, body: bytes, signature: Signature) -> Sent:
        self._count += 1
        sent = Sent(self._count, len(body), signature)
        self._sent.append(sent)
        await self._post(sent, body)
        if not sent.is_over:
            self._run_in_background(asyncio.create_task(self._retry(sent, body)))
        return sent

    def _run_in_background(self, task: asyncio.Task[Any]) -> None:
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def _retry(self, sent: Sent, body: bytes) -> None:
        for seconds in RETRY_SECONDS:
            await asyncio.sleep(seconds)
            await self._post(sent, body)
            if sent.is_over:
                return
        sent.is_over = True

    async def _post(self, sent: Sent, body: bytes) -> None:
        async with self._slots:
            sent.attempts += 1
            started = time.perf_counter()
            try:
                turn = (sent.number + sent.attempts) % len(self._callback_urls)
                async with self._session.post(
                    self._callback_urls[turn],
                    data=body,
                    headers=headers(body, self._secret, sent.signature),
                    timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                    allow_redirects=False,
                ) as answer:
                    sent.status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                sent.status = 0
            sent.seconds = time.perf_counter() - started
            # Meta retries until it is answered 200. A forger does not retry.
            sent.is_over = sent.status == 200 or sent.signature != "right"
