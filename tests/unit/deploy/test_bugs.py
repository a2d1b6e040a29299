"""The planted bugs fit the code there is. What the checker says of them: `make prove`."""

import ast
from pathlib import Path

import pytest

from deploy.local.chaos.bugs import BUGS, Bug, NotPlanted, Replacement, plant
from deploy.local.oracle.ledger import FINDINGS
from tests.support.source import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_fits_the_code(bug: Bug, tmp_path: Path) -> None:
    files = {file for file, _, _ in bug.replacements}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((ROOT / file).read_text())

    plant(bug, tmp_path)

    for file in files:
        planted = (tmp_path / file).read_text()
        assert planted != (ROOT / file).read_text()
        ast.parse(planted)
    assert bug.finding in FINDINGS


@pytest.mark.parametrize("text", ["nothing", "twice twice"])
def test_a_bug_that_does_not_fit_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(text)

    with pytest.raises(NotPlanted):
        plant(Bug("x", "x", [Replacement("code.py", "twice", "")]), tmp_path)
