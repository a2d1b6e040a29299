"""The API as it is described: fuzzed by its own OpenAPI document, which is kept in step."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from services.console.http.app import OPENAPI_PATH
from shared.store import api_keys
from shared.store.connections import organizations
from shared.store.pool import Conn
from tests.support.onboarding_setup import CONNECTIONS, ORPHANS, House
from tests.support.simulated import WABA, number
from tests.support.source import ROOT

FUZZ_SECONDS = 100
DOCUMENT = ROOT / "docs" / "openapi.json"


async def test_the_document_in_docs_is_the_one_that_is_served(house: House) -> None:
    """After a change: `curl CONSOLE/api/v1/openapi.json | python -m json.tool`."""
    async with house.http.get(OPENAPI_PATH) as answer:
        assert await answer.json() == json.loads(DOCUMENT.read_text())


@pytest.mark.parametrize("whose", ["the company's", "an organization's", "nobody's"])
async def test_no_request_breaks_it_or_reads_across_organizations(
    house: House, conn: Conn, tmp_path: Path, whose: str
) -> None:
    """Thousands of requests made from the document, valid and not: no 5xx, no answer that is not
    described, and with another organization's key nothing of the bakery's."""
    await house.meta.put_waba(number())
    code = await house.connect("bakery")
    await house.until_active(code)
    key = house.key
    if whose != "the company's":
        await organizations.add(conn, "mallory")
        key = await api_keys.create(conn, "theirs", "mallory")
    if whose == "nobody's":
        key = "porteiro_guessed"
    seen = tmp_path / "seen.har"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")), "run",
        str(await _document_that_names(house, code, tmp_path)),
        "--url", house.environment["CONSOLE_URL"],
        "--header", f"Authorization: Bearer {key}", "--seed", "1", "--max-examples", "20",
        "--warnings", "off", "--report-har-path", str(seen), "--output-sanitize", "false",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), FUZZ_SECONDS)
    told = output.decode()
    assert process.returncode == 0, told[-4000:]
    asked, answers = _said(seen.read_text())
    assert len(answers) > 100
    assert any(WABA in one for one in asked)
    assert any(code in one for one in asked)
    if whose != "the company's":
        assert [one for one in answers if WABA in one or "bakery" in one] == []
        [left] = (await house.ask("GET", f"{CONNECTIONS}?organization_id=bakery"))["connections"]
        assert left["state"] == "active"


async def _document_that_names(house: House, code: str, folder: Path) -> Path:
    """With the bakery's ids as examples: what a fuzzer would not come upon by itself."""
    async with house.http.get(OPENAPI_PATH) as answer:
        document = await answer.json()
    examples = {"waba_id": WABA, "tracking_code": code, "organization_id": "bakery"}
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in examples:
                    parameter["example"] = examples[parameter["name"]]
    written = folder / "openapi.json"
    written.write_text(json.dumps(document))
    return written


def _said(report: str) -> tuple[list[str], list[str]]:
    """What was asked, and the answers' bodies, as a HAR file has them."""
    met = json.loads(report)["log"]["entries"]
    return [one["request"]["url"] for one in met], [
        one["response"]["content"].get("text", "") for one in met
    ]


async def test_what_is_not_there_and_what_is_too_much_are_told_as_json(house: House) -> None:
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "not_found"),
        ("PATCH", CONNECTIONS, 405, "method_not_allowed"),
        ("GET", f"{CONNECTIONS}/x", 422, "invalid_path"),
        ("GET", f"{CONNECTIONS}?limit=0", 422, "invalid_query"),
        ("GET", f"{CONNECTIONS}?limit=1&limit=2", 422, "invalid_query"),
    ):
        assert (await house.ask(method, path, status=status))["code"] == code
    path = f"{ORPHANS}/{WABA}/claim"
    for data, content, status in (
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"[]", "application/json", 422),
        (b'"' + b"x" * 70_000 + b'"', "application/json", 413),
    ):
        headers = {"Authorization": f"Bearer {house.key}", "Content-Type": content}
        async with house.http.post(path, data=data, headers=headers) as answer:
            assert answer.status == status
            assert set(await answer.json()) == {"code", "message"}


async def test_a_fault_quotes_nothing_of_the_request(house: House) -> None:
    code = await house.start()
    told = await house.ask(
        "POST", f"/api/v1/whatsapp/onboarding/{code}/code", {"code": "CANARY ☃"}, status=422
    )
    assert "CANARY" not in json.dumps(told)


async def test_limits_refuse_and_say_when_to_come_again(house: House, conn: Conn) -> None:
    await organizations.add(conn, "bakery")
    key = await api_keys.create(conn, "theirs", "bakery")
    headers = {"Authorization": f"Bearer {key}"}
    for _ in range(100):
        await house.ask("GET", CONNECTIONS, key=key)
    async with house.http.get(CONNECTIONS, headers=headers) as answer:
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    await house.ask("GET", CONNECTIONS)  # another key is another matter


async def test_a_revoked_key_works_no_more(house: House, conn: Conn) -> None:
    await house.ask("GET", CONNECTIONS)
    [key] = await api_keys.listed(conn)
    assert await api_keys.revoke(conn, key.id)
    await house.ask("GET", CONNECTIONS, status=401)
