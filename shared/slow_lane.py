"""The WABAs whose webhooks take the slow lane: the processor decides, the ingress obeys.

They are in one Redis set that expires, so that they come back by themselves.
"""

from collections.abc import Collection

from redis.asyncio import Redis

KEY = "wabas.slow"
#: How long a set holds after its last writing.
EXPIRES_SECONDS = 5


async def read(redis: Redis) -> frozenset[str]:
    """Return the WABA ids. Raise what the driver raises."""
    return frozenset(map(str, await redis.smembers(KEY)))


async def add(redis: Redis, waba_ids: Collection[str]) -> None:
    """Add WABAs, for EXPIRES_SECONDS. Raise what the driver raises."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.sadd(KEY, *waba_ids)
        pipeline.expire(KEY, EXPIRES_SECONDS)
        await pipeline.execute()
