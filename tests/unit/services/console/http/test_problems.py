"""Every code of a problem is in the table of docs/api.md."""

import ast
import re

from tests.support.source import ROOT, files, syntax_tree

RAISED = {"Problem", "Missing", "NotAllowed", "WrongState"}


def codes(tree: ast.Module) -> set[str]:
    """Return the codes that are written out where a problem or an error of a use case is made."""
    return {
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in RAISED
        for argument in call.args
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and re.fullmatch(r"[a-z_]+", argument.value)
    }


def test_each_code_is_documented() -> None:
    assert codes(ast.parse("raise Problem(404, 'nowhere', 'It is not there.')")) == {"nowhere"}
    made = set[str]().union(
        *(
            codes(syntax_tree(file))
            for file in files("services/console", "shared/actions")
            if file.parent.name != "connect"  # our page's own calls are not the API
        )
    )
    documented = (ROOT / "docs" / "api.md").read_text()
    assert len(made) > 20
    assert {code for code in made if f"`{code}`" not in documented} == set()
