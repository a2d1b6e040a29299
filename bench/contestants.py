"""The processes of the two contestants: Porteiro, and its peer FastAPI + FastStream."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local.stack.servers import LOOPBACK, Program, free_port, reply


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    ingress: Program
    ingress_port: int
    processor: Program


def ours(env: Mapping[str, str]) -> Contestant:
    port, ingress_health, processor_health = free_port(), free_port(), free_port()
    return Contestant(
        "Porteiro",
        Program(
            "ingress",
            [sys.executable, "-m", "services.ingress"],
            lambda: reply(port, b"GET / HTTP/1.0\r\n\r\n") != b"",
            env={**env, "PORT": str(port), "HEALTH_PORT": str(ingress_health)},
        ),
        port,
        Program(
            "processor",
            [sys.executable, "-m", "services.processor"],
            lambda: reply(processor_health, b"GET /readyz HTTP/1.0\r\n\r\n") != b"",
            env={**env, "HEALTH_PORT": str(processor_health)},
        ),
    )


def peer(env: Mapping[str, str]) -> Contestant:
    port = free_port()
    uvicorn = ["uvicorn", "bench.peer:ingress", "--host", LOOPBACK, "--port", str(port)]
    options = [
        "--no-access-log",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--log-level",
        "warning",
    ]
    return Contestant(
        "FastAPI + FastStream",
        Program(
            "ingress",
            [sys.executable, "-m", *uvicorn, *options],
            lambda: reply(port, b"GET / HTTP/1.0\r\n\r\n") != b"",
            env=env,
        ),
        port,
        Program(
            "processor",
            [sys.executable, "-m", "faststream", "run", "bench.peer:processor"],
            lambda: True,
            env=env,
        ),
    )
