"""Rules that ruff, mypy and import-linter cannot say. Each test reads every file."""

import ast
from pathlib import Path

import pytest

from shared.process.telemetry import ALLOWED_KEYS
from tests.support.source import (
    ROOT,
    class_names,
    defined_twice,
    files,
    logged_keys,
    print_calls,
    relative_path,
    secret_comparisons,
    syntax_tree,
    type_aliases,
)

SHIPPED = ("services", "shared")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}
MAX_LINES = 400

#: Only this code compares signatures and tokens that strangers send.
COMPARING = ("services/ingress", "shared")


def duplicate_classes(trees: dict[Path, ast.Module]) -> dict[str, list[str]]:
    return defined_twice(
        (name, relative_path(file)) for file, tree in trees.items() for name in class_names(tree)
    )


def duplicate_aliases(trees: dict[Path, ast.Module]) -> dict[str, list[str]]:
    return defined_twice(
        (name, relative_path(file)) for file, tree in trees.items() for name in type_aliases(tree)
    )


def test_shipped_code_prints_nothing() -> None:
    assert print_calls(ast.parse("print('x')")) == [1]
    assert [
        f"{relative_path(file)}:{line}"
        for file in files(*SHIPPED)
        for line in print_calls(syntax_tree(file))
    ] == []


def test_secrets_are_only_compared_in_constant_time() -> None:
    places = [
        f"{relative_path(file)}:{line}"
        for file in files(*COMPARING)
        for line in secret_comparisons(syntax_tree(file))
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


def test_no_two_classes_have_the_same_name() -> None:
    assert duplicate_classes({file: syntax_tree(file) for file in files(*SHIPPED)}) == {}


def test_a_second_class_of_the_same_name_would_be_found() -> None:
    trees = {
        ROOT / "shared/store/pool.py": ast.parse("class Pool: ...\nclass Conn: ..."),
        ROOT / "shared/cache.py": ast.parse("def build():\n    class Pool: ..."),
    }

    assert duplicate_classes(trees) == {"Pool": ["shared/store/pool.py", "shared/cache.py"]}


def test_no_two_modules_define_a_type_alias_of_the_same_name() -> None:
    assert duplicate_aliases({file: syntax_tree(file) for file in files(*SHIPPED)}) == {}


@pytest.mark.parametrize(
    "code",
    [
        "State = Literal['active']",
        "State = typing.Literal['active']",
        "State = Annotated[str, Field(max_length=9)]",
        "State = dict[str, Any]",
        "State = Callable[[], Awaitable[None]]",
        "State = Active | Disabled",
        "State = int | None",
        "State = Sequence[str] | None",
        "State: TypeAlias = 'Active'",
        "if TYPE_CHECKING:\n    State = Union[Active, Disabled]",
    ],
)
def test_a_second_alias_of_the_same_name_would_be_found(code: str) -> None:
    trees = {
        ROOT / "shared/domain/facts.py": ast.parse("State = Literal['orphan']"),
        ROOT / "shared/cache.py": ast.parse(code),
    }

    assert duplicate_aliases(trees) == {"State": ["shared/domain/facts.py", "shared/cache.py"]}


@pytest.mark.parametrize(
    "code",
    [
        "State = STATES['active']",
        "State = FOUNDATION | {'active'}",
        "def f():\n    State = Literal['x']",
    ],
)
def test_a_value_is_not_a_type_alias(code: str) -> None:
    assert type_aliases(ast.parse(code)) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [
        relative_path(file)
        for file in files(*SHIPPED, "deploy", "tests", "bench")
        if FORBIDDEN_NAMES & set(file.relative_to(ROOT).with_suffix("").parts)
    ] == []


def test_no_file_is_too_long() -> None:
    all_files = files(*SHIPPED, "deploy", "tests", "bench")

    assert all_files
    assert [
        relative_path(file) for file in all_files if len(file.read_text().splitlines()) > MAX_LINES
    ] == []


def test_each_key_that_we_log_is_shown() -> None:
    """A key that is not allowed is shown as [redacted], which helps nobody."""
    hidden = {
        relative_path(file): keys
        for file in files(*SHIPPED)
        if (keys := logged_keys(syntax_tree(file)) - ALLOWED_KEYS - {"exc_info"})
    }
    assert not hidden
