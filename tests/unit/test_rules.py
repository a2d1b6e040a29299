"""The house's rules, held by reading every file."""

import ast
from pathlib import Path

import pytest

from tests.support.source import ROOT, files, imported, parsed, prints, secret_comparisons, shown

SHIPPED = ("services", "shared")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}
MAX_LINES = 400

#: What each part of `shared` may import of ours, beside itself.
FOUNDATION = {"domain", "settings", "process", "messages", "errors"}
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "messages": set(),
    "errors": set(),
    "process": {"errors"},
    "settings": {"process", "errors"},
    "crypto": FOUNDATION,
    "store": FOUNDATION | {"crypto"},
    "broker": FOUNDATION | {"crypto"},
    "graph": FOUNDATION | {"crypto"},
    "cache": FOUNDATION | {"crypto"},
}
#: Use cases that two services need: may import all of shared.
UNBOUND = {"actions"}

#: A signature and a token are compared where strangers send them.
COMPARING = ("services/ingress", "shared")


def forbidden_imports(file: Path, tree: ast.Module) -> list[str]:
    top, part = file.relative_to(ROOT).with_suffix("").parts[:2]
    found = []
    for imported_top, imported_part in imported(tree):
        if imported_top in {"deploy", "tests", "bench"}:
            is_allowed = False
        elif imported_top == "services":
            is_allowed = top == "services" and imported_part == part
        elif imported_top == "shared":
            is_own = imported_part == part
            unbound = top == "services" or part in UNBOUND
            is_allowed = unbound or is_own or imported_part in MAY_IMPORT.get(part, set())
        else:
            continue
        if not is_allowed:
            found.append(f"{shown(file)} imports {imported_top}.{imported_part}")
    return found


def test_nothing_imports_what_it_must_not() -> None:
    assert [
        line for file in files(*SHIPPED) for line in forbidden_imports(file, parsed(file))
    ] == []


def test_every_part_of_shared_has_its_rule() -> None:
    parts = {file.relative_to(ROOT / "shared").parts[0] for file in files("shared")}

    assert {part.removesuffix(".py") for part in parts} - {"__init__"} <= set(MAY_IMPORT) | UNBOUND


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("shared/domain/splitting.py", "from shared.process import telemetry"),
        ("shared/domain/splitting.py", "import shared.messages"),
        ("shared/store/pool.py", "from shared.broker.connect import connect"),
        ("shared/store/pool.py", "from shared.actions import replay"),
        ("shared/broker/connect.py", "def late():\n    from shared.store import pool"),
        ("shared/crypto.py", "from services.ingress import app"),
        ("shared/process/health.py", "from deploy.local import servers"),
        ("services/ingress/app.py", "from services.processor.group import split_webhook"),
        ("services/ingress/app.py", "from services import processor"),
        ("services/ingress/app.py", "import tests.broker"),
    ],
)
def test_an_import_across_the_house_would_be_found(place: str, code: str) -> None:
    assert forbidden_imports(ROOT / place, ast.parse(code))


def test_nothing_that_ships_prints() -> None:
    assert prints(ast.parse("print('x')")) == [1]
    assert [f"{shown(f)}:{line}" for f in files(*SHIPPED) for line in prints(parsed(f))] == []


def test_secrets_are_compared_in_constant_time_alone() -> None:
    places = [
        f"{shown(f)}:{line}" for f in files(*COMPARING) for line in secret_comparisons(parsed(f))
    ]

    assert places == []


@pytest.mark.parametrize(
    "code",
    [
        "token == other",
        "other != self._verify_token",
        "hmac.digest(a, b, 'sha256') == claimed",
        "a < b == request.signature[7:]",
        "settings.meta_app_secret.get_secret_value() == x",
    ],
)
def test_a_plain_comparison_of_a_secret_would_be_found(code: str) -> None:
    assert secret_comparisons(ast.parse(code)) == [1]


def test_no_module_has_a_name_that_says_nothing() -> None:
    everything = files(*SHIPPED, "deploy", "tests", "bench")

    named = [
        shown(f)
        for f in everything
        if FORBIDDEN_NAMES & set(f.relative_to(ROOT).with_suffix("").parts)
    ]

    assert named == []


def test_no_file_is_too_long() -> None:
    everything = files(*SHIPPED, "deploy", "tests", "bench")

    assert everything
    assert [shown(f) for f in everything if len(f.read_text().splitlines()) > MAX_LINES] == []
