"""The Dockerfile's paths exist, its package is complete, and it is what the manifests run."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from tests.support.manifests import PODS

LINES = Path("Dockerfile").read_text()


def sources() -> list[str]:
    """Return what the image copies from this folder."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", LINES, re.MULTILINE)
    return [source for copy in copies for source in copy.split()]


def test_what_it_copies_exists() -> None:
    assert sources()
    assert [source for source in sources() if not Path(source).exists()] == []
    assert "requirements/run.txt" in LINES


def test_it_runs_as_the_user_of_the_manifests_without_what_builds_it() -> None:
    final = LINES.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"\bpip\b|setuptools|gcc", final) is None
    assert LINES.count("--require-hashes") == 2


def test_every_command_of_a_manifest_exists() -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")}
    for pod in PODS.values():
        [container] = pod["containers"]
        program, *arguments = container["command"]
        if program == "python":
            assert arguments[0] == "-m"
            assert find_spec(f"{arguments[1]}.__main__") is not None
        else:
            assert program in scripts


def test_the_package_has_every_file_of_the_services(tmp_path: Path) -> None:
    for source in sources():
        if Path(source).is_dir():
            shutil.copytree(source, tmp_path / source)
        else:
            shutil.copy(source, tmp_path)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
         "--wheel-dir", "dist", "."],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    [wheel] = (tmp_path / "dist").iterdir()
    listed = subprocess.run(
        ["git", "ls-files", "services", "shared"], capture_output=True, check=True, text=True
    )
    assert set(listed.stdout.split()) <= set(ZipFile(wheel).namelist())
