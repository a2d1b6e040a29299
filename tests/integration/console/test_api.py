"""The API behaves as its OpenAPI document says. A fuzzer tests it with that document."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.console.http.app import OPENAPI_PATH
from shared.cache import open_redis
from shared.store import api_keys
from shared.store.api_keys import Right
from shared.store.connections import onboardings, organizations, tracking_codes
from shared.store.pool import Conn
from tests.support.keys import OPERATOR, make_key
from tests.support.onboarding_setup import CONNECTIONS, ONBOARDING, Installation
from tests.support.simulated import WABA, number
from tests.support.source import ROOT

FUZZ_SECONDS = 100
DOCUMENT = ROOT / "docs" / "openapi.json"


async def test_the_document_in_docs_is_the_one_that_is_served(installation: Installation) -> None:
    """To update docs: `curl CONSOLE/api/v1/openapi.json | python -m json.tool`."""
    async with installation.http.get(OPENAPI_PATH) as answer:
        assert await answer.json() == json.loads(DOCUMENT.read_text())


@pytest.mark.parametrize("caller", ["company", "organization", "unknown key"])
async def test_no_request_breaks_the_api_or_reads_another_organization(
    installation: Installation, conn: Conn, tmp_path: Path, caller: str
) -> None:
    """Send thousands of valid and invalid requests, generated from the document.

    No answer is a 5xx or is missing in the document. Without the company's key, no answer shows
    anything of the bakery.
    """
    await installation.meta.put_waba(number())
    code = await installation.connect("bakery")
    await installation.until_active(code)
    key = installation.key
    if caller != "company":
        await organizations.add(conn, "mallory")
        key = await make_key(conn, "mallory", "theirs")
    if caller == "unknown key":
        key = "porteiro_guessed"
    report = tmp_path / "seen.har"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")), "run",
        str(await _write_document(installation, code, tmp_path)),
        "--url", installation.environment["CONSOLE_URL"],
        "--header", f"Authorization: Bearer {key}", "--seed", "1", "--max-examples", "20",
        "--warnings", "off", "--report-har-path", str(report), "--output-sanitize", "false",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), FUZZ_SECONDS)
    text = output.decode()
    assert process.returncode == 0, text[-4000:]
    urls, answers = _urls_and_answers(report.read_text())
    assert len(answers) > 100
    assert any(WABA in url for url in urls)
    assert any(code in url for url in urls)
    if caller != "company":
        assert [text for text in answers if WABA in text or "bakery" in text] == []
        # Not by the API: the fuzzer may have spent the limit of this address.
        states = "SELECT state::text FROM whatsapp_connections WHERE organization_id = 'bakery'"
        assert [row["state"] for row in await conn.fetch(states)] == ["active"]


async def _write_document(installation: Installation, code: str, folder: Path) -> Path:
    """Write the document with the bakery's ids as examples, because a fuzzer cannot guess them."""
    async with installation.http.get(OPENAPI_PATH) as answer:
        document = await answer.json()
    examples = {"waba_id": WABA, "tracking_code": code, "organization_id": "bakery"}
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in examples:
                    parameter["example"] = examples[parameter["name"]]
    file = folder / "openapi.json"
    file.write_text(json.dumps(document))
    return file


def _urls_and_answers(report: str) -> tuple[list[str], list[str]]:
    """Return the URLs and the answers' bodies of a HAR file."""
    entries = json.loads(report)["log"]["entries"]
    return [entry["request"]["url"] for entry in entries], [
        entry["response"]["content"].get("text", "") for entry in entries
    ]


async def test_an_error_quotes_nothing_of_the_request(installation: Installation) -> None:
    code = await installation.start_onboarding()
    error = await installation.request(
        "POST", f"/api/v1/whatsapp/onboarding/{code}/code", {"code": "CANARY ☃"}, status=422
    )
    assert "CANARY" not in json.dumps(error)


async def test_a_rate_limit_answers_429_with_retry_after(
    installation: Installation, conn: Conn
) -> None:
    await organizations.add(conn, "bakery")
    key = await make_key(conn, "bakery", "theirs")
    headers = {"Authorization": f"Bearer {key}"}
    for _ in range(100):
        await installation.request("GET", CONNECTIONS, key=key)
    async with installation.http.get(CONNECTIONS, headers=headers) as answer:
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    await installation.request("GET", CONNECTIONS)  # another key has its own limit


async def test_a_revoked_key_is_refused(installation: Installation, conn: Conn) -> None:
    await installation.request("GET", CONNECTIONS)
    [key] = await api_keys.listed(conn)
    assert await api_keys.revoke(conn, key.id, OPERATOR)
    await installation.request("GET", CONNECTIONS, status=401)


async def test_a_key_stops_working_when_it_expires(installation: Installation, conn: Conn) -> None:
    await installation.request("GET", CONNECTIONS)
    await conn.execute("UPDATE api_keys SET expires_at = now() + interval '1 hour'")
    await installation.request("GET", CONNECTIONS)
    await conn.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    await installation.request("GET", CONNECTIONS, status=401)


async def test_a_key_without_the_right_changes_nothing(
    installation: Installation, conn: Conn
) -> None:
    key = await make_key(conn, name="dashboard", rights=[Right.READ])
    await installation.request("GET", CONNECTIONS, key=key)
    with capture_logs() as logged:
        for method, path in (
            ("POST", ONBOARDING),
            ("POST", f"{CONNECTIONS}/{WABA}/provision"),
            ("DELETE", f"{ONBOARDING}/code-1"),
        ):
            refused = await installation.request(method, path, {}, key=key, status=403)
            assert refused["code"] == "right_missing"
        await installation.request("GET", CONNECTIONS, key="porteiro_CANARY", status=401)
    [known] = [key for key in await api_keys.listed(conn) if key.name == "dashboard"]
    lines = [line for line in logged if line["event"] == "request.refused"]
    assert [(line["reason"], line["key_id"]) for line in lines] == [
        *[("right_missing", str(known.id))] * 3, ("key_needed", None),
    ]  # fmt: skip
    assert "CANARY" not in json.dumps(logged, default=str)
    assert await conn.fetchval("SELECT count(*) FROM whatsapp_onboarding") == 0


async def test_the_day_of_a_keys_last_use_is_noted_once_a_day(
    installation: Installation, conn: Conn
) -> None:
    await installation.request("GET", CONNECTIONS)
    await conn.execute("UPDATE api_keys SET last_used_on = current_date - 1")
    await installation.request("GET", CONNECTIONS)
    noted = "SELECT xmin::text, last_used_on = current_date AS is_today FROM api_keys"
    first = await conn.fetchrow(noted)
    assert first is not None
    assert first["is_today"]
    await installation.request("GET", CONNECTIONS)
    assert await conn.fetchrow(noted) == first


@pytest.mark.parametrize("cached", [None, "bakery", "mallory"])
async def test_an_onboarding_is_shown_to_its_organization_alone_whatever_is_cached(
    installation: Installation, conn: Conn, cached: str | None
) -> None:
    code = await installation.start_onboarding("bakery")
    await organizations.add(conn, "mallory")
    theirs = await make_key(conn, "mallory", "theirs")
    async with open_redis(installation.environment["REDIS_URL"]) as redis:
        await redis.flushdb()
        if cached is not None:
            await redis.set(f"cache:onboarding:{tracking_codes.hash_code(code).hex()}", cached)
    await installation.request("GET", f"{ONBOARDING}/{code}", key=theirs, status=404)


async def test_an_onboarding_is_found_by_its_organization_alone(
    installation: Installation, conn: Conn
) -> None:
    code = await installation.start_onboarding("bakery")
    assert await onboardings.find(conn, code, organization_id="mallory") is None
    assert await onboardings.find(conn, code, organization_id="bakery") is not None
    assert await onboardings.find(conn, code, organization_id=None) is not None
