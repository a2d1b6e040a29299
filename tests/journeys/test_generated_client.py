"""A company's backend uses the API by a client that openapi-python-client makes of the document."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

from shared.store.pool import Conn
from tests.support.onboarding_setup import Installation
from tests.support.simulated import WABA, number
from tests.support.source import ROOT
from tests.support.waiting import eventually

NAME = "generated_client"


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Generate the client into a folder that can be imported from. Nothing may be skipped."""
    config = Config.from_sources(
        ConfigFile(post_hooks=[]),
        MetaType.NONE,
        document_source=ROOT / "docs" / "openapi.json",
        file_encoding="utf-8",
        overwrite=False,
        output_path=tmp_path / NAME,
    )
    assert generate(config=config) == []
    monkeypatch.syspath_prepend(tmp_path)
    return import_module(NAME)


def _call(operation: str) -> Any:
    """Return the generated function that calls this operation, such as `connections.set_pin`."""
    return import_module(f"{NAME}.api.{operation}").asyncio


async def test_a_generated_client_connects_a_customer(
    installation: Installation, conn: Conn, generated: ModuleType
) -> None:
    models = import_module(f"{NAME}.models")
    get_onboarding = _call("onboarding.get_onboarding")
    list_connections = _call("connections.list_connections")
    await installation.meta.put_waba(number())
    url = installation.environment["CONSOLE_URL"]
    async with generated.AuthenticatedClient(base_url=url, token=installation.key) as client:
        started = await _call("onboarding.start_onboarding")(
            client=client,
            body=models.StartBody(organization_id="bakery"),
            idempotency_key="order-1",
        )
        code = started.tracking_code
        assert started.launch.page_url.endswith(code)
        signup = await installation.meta.sign_up(webhooks=True)
        await _call("onboarding.report_session")(
            code,
            client=client,
            body=models.SessionBody.from_dict(
                {name: signup["message"][name] for name in ("event", "data")}
            ),
        )
        await _call("onboarding.exchange_code")(
            code, client=client, body=models.CodeBody(code=signup["code"])
        )

        async def is_active() -> bool:
            await installation.make_follow_ups_due()
            onboarding = await get_onboarding(code, client=client)
            return bool(onboarding.connection and onboarding.connection.state == "active")

        await eventually(is_active)
        await conn.execute(
            """
            INSERT INTO whatsapp_connections (id, waba_id, organization_id, attribution)
            VALUES (gen_random_uuid(), '1', 'bakery', 'claimed')
            """
        )
        seen = []
        after: str | None = ""
        while after is not None:
            page = await list_connections(client=client, limit=1, after=after)
            seen += [(connection.waba_id, connection.state) for connection in page.connections]
            after = page.next_after
        assert seen == [("1", "orphan"), (WABA, "active")]
        problem = await get_onboarding("guessed", client=client)
        assert isinstance(problem, models.Problem)
        assert (problem.status, problem.code) == (404, "no_such_onboarding")
        assert problem.request_id
