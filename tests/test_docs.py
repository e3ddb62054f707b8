"""The pages tell the truth: marked code runs, links lead somewhere, the README's script is the example."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"<!-- run -->\n```(python|bash)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# the README shows the real numbers; a test has seconds
SMALLER = {
    "ITERATIONS = 250": "ITERATIONS = 2",
    "DipSettings(": "DipSettings(network_input='random', filters=(4, 4), skips=(2, 2), polish=0, crop=False, ",
    "SimulationSettings()": "SimulationSettings.from_mapping({'phantom': {'field_voxels': 24, 'size_nm': 15, "
    "'shell_nm': 3, 'void_radius_nm': 1.2}, 'tilt_step_deg': 35, 'dose_e_per_a2': 1e5})",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_marked_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, object] = {}
    for language, code in blocks(page):
        if language == "python":
            for real, small in SMALLER.items():
                code = code.replace(real, small)
            exec(compile(code, f"{page.name}", "exec"), names)
            continue
        for line in code.replace("\\\n", " ").strip().splitlines():
            program, *words = shlex.split(line)
            assert program == "napari-dipmtv"
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, f"{line}\n{done.output}"


def test_there_is_code_to_run() -> None:
    found = {page.relative_to(ROOT).as_posix(): [kind for kind, _ in blocks(page)] for page in PAGES}
    assert found["README.md"] == ["python"]
    assert "bash" in found["docs/cli.md"]
    assert found["docs/tutorial.md"].count("python") >= 6


def test_the_script_of_the_readme_is_the_example() -> None:
    example = (ROOT / "examples/whole_way.py").read_text(encoding="utf-8")
    assert blocks(ROOT / "README.md")[0][1].strip() == example.split('"""', 2)[2].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_every_command_is_in_the_table() -> None:
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        assert f"| `{name}` |" in page
