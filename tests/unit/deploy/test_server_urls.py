"""`make up` says which servers of the environment it uses, and uses none of an ended stack."""

import os

from pytest import CaptureFixture, MonkeyPatch

from deploy.local.__main__ import _use_server_urls
from deploy.local.stack.stack import ENV_MARK

URL = "postgresql://ana:{word}@db.example:5432/orders"


def test_a_server_of_the_environment_is_named_without_its_password(
    monkeypatch: MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ENV_MARK, raising=False)
    monkeypatch.setenv("DATABASE_URL", URL.format(word="hidden"))
    _use_server_urls()
    said = capsys.readouterr().out
    assert "using DATABASE_URL of the environment: db.example:5432/orders" in said
    assert "hidden" not in said
    assert os.environ["DATABASE_URL"]


def test_the_urls_of_a_loaded_porteiro_env_are_not_used(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_MARK, "/somewhere/.local/porteiro.env")
    monkeypatch.setenv("DATABASE_URL", URL.format(word="hidden"))
    _use_server_urls()
    assert "DATABASE_URL" not in os.environ
