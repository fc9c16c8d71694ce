"""What the papers point at exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RECIPES = [ROOT / "CONTRIBUTING.md", ROOT / "docs/adr/0001-layout-and-promises.md"]
PACKAGES = "schemas|serving|streams|detectors|alerting|tocsin|tests|docs|deploy|dashboards"


def named(paper: Path) -> str:
    return str(paper.relative_to(ROOT))


@pytest.mark.parametrize("paper", PAPERS, ids=named)
def test_a_link_leads_somewhere(paper: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", paper.read_text())
    targets += re.findall(r'(?:src|srcset)="([^"#\s]+)', paper.read_text())
    local = [target for target in targets if "://" not in target and "mailto:" not in target]
    assert [target for target in local if not (paper.parent / target).exists()] == []


@pytest.mark.parametrize("paper", RECIPES, ids=named)
def test_a_file_that_a_recipe_names_is_there(paper: Path) -> None:
    text = paper.read_text()
    paths = set(re.findall(rf"(?<![\w/])((?:{PACKAGES})/[\w/.*-]*\w/?)", text))
    assert len(paths) > 5
    missing = {path for path in paths if "yours" not in path and not any(ROOT.glob(path))}
    assert missing == set()


def test_the_commands_that_contributing_gives_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = set(re.findall(r"\bmake ([a-z-]+)\b", (ROOT / "CONTRIBUTING.md").read_text()))
    assert len(asked) > 4
    assert asked <= set(targets)


def test_the_recipes_names_of_code_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    code = "\n".join(
        path.read_text()
        for package in ("schemas", "serving", "streams", "detectors", "alerting", "tests")
        for path in (ROOT / package).rglob("*.py")
        if path != Path(__file__)
    )
    names = set(re.findall(r"`([A-Z]\w+|[a-z]+_[a-z_]+)`", text)) - {"None"}
    assert len(names) > 8
    code_names = {name for name in names if not name.startswith("TOCSIN_")}
    assert {name for name in code_names if not re.search(rf"\b{name}\b", code)} == set()
