"""What a service under test counts, as Prometheus reads it."""

import aiohttp


async def metric(environment: dict[str, str], name: str) -> float:
    """Return the sum of the samples whose name and labels begin with `name`."""
    url = f"http://{environment['HOST']}:{environment['HEALTH_PORT']}/metrics"
    async with aiohttp.request("GET", url) as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
