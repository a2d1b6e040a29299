"""The page speaks the customer's language."""

import re

import pytest
from aiohttp.test_utils import make_mocked_request

from services.console.connect.words import WORDS, language_of, words_for


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("pt-BR,pt;q=0.9,en-US;q=0.8", "pt-BR"),
        ("pt", "pt-BR"),
        ("PT-pt", "pt-BR"),
        ("en-US,en;q=0.9,pt;q=0.8", "en"),
        ("de-DE, pt;q=0.5, en;q=0.7", "en"),
        ("de, fr;q=0.9", "en"),
        ("*", "en"),
        ("pt;q=0, en;q=0", "en"),
        ("pt;q=x, ,;;", "en"),
        ("pter", "en"),
    ],
)
def test_the_language_the_browser_likes_best_of_ours(accepted: str | None, language: str) -> None:
    headers = {} if accepted is None else {"Accept-Language": accepted}
    assert language_of(make_mocked_request("GET", "/", headers=headers)) == language


def test_both_languages_say_the_same_things() -> None:
    english, portuguese = WORDS["en"], WORDS["pt-BR"]
    assert set(english) == set(portuguese)
    for name, text in english.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(
            re.findall(r"{\w+}", portuguese[name])
        ), name
        assert text != portuguese[name]


def test_who_asks_is_named() -> None:
    words = words_for("pt-BR", "Padaria {time}")
    assert words["back"] == "Voltar para Padaria {time}"
