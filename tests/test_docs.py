"""What the documents say of the repository is so: links, the tree, figures, versions."""

import re
from pathlib import Path

import pytest
import yaml

import palm_demo
from tools.tree import PAGE, TREE, tree, with_tree

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
NAMED = re.compile(
    r"`((?:palm_demo|tests|benchmarks|assets|docs|tools)/[\w./-]+(?:/|\.(?:py|md|yaml|json)))`"
)
PACKAGES = "|".join(path.name for path in (ROOT / "palm_demo").iterdir() if path.is_dir())
BARE = re.compile(r"`(\w+\.py)`")
SOURCES = ("*.py", *(f"{folder}/**/*.py" for folder in ("palm_demo", "benchmarks", "docs", "tests", "tools")))
IN_THE_PACKAGE = re.compile(rf"`((?:{PACKAGES})/[\w./]*|errors\.py|settings\.py)`")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_a_page():
    assert len(README.splitlines()) <= 155


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(page):
    """`assets/weights/scopes/NAME.safetensors` and the like are patterns."""
    if page.name == "CHANGELOG.md":
        return  # what it names may be gone
    text = page.read_text(encoding="utf-8")
    named = [ROOT / path for path in NAMED.findall(text)]
    named += [ROOT / "palm_demo" / path for path in IN_THE_PACKAGE.findall(text)]
    assert [path for path in named if "NAME" not in path.name and not path.exists()] == []
    known = {path.name for sources in SOURCES for path in ROOT.glob(sources)}
    assert set(BARE.findall(text)) <= known


def test_every_module_stands_in_the_tree_as_its_docstring_says():
    page = PAGE.read_text(encoding="utf-8")
    assert TREE.search(page)
    assert with_tree(page, tree()) == page, "run python tools/tree.py"


def test_figures_of_the_readme_are_those_of_the_benchmarks():
    told = README.partition("## What the weights can")[2].partition("\n## ")[0]
    figures = set(re.findall(r"\b\d\.\d{3}\b", told))
    assert len(figures) > 10
    assert {figure for figure in figures if not re.search(rf"\b{figure}\b", BENCHMARKS)} == set()


def test_the_changelog_knows_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## ({re.escape(palm_demo.__version__)}\b|Unreleased$)", changelog, re.MULTILINE)


def test_every_commit_is_checked_by_the_ruff_of_the_lock():
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert f"\nruff=={hooks['rev'].removeprefix('v')} " in (ROOT / "constraints.txt").read_text(
        encoding="utf-8"
    )


def test_issue_forms_are_forms():
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) >= 2
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"] and form["description"] and form["body"]
        asked = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(asked) == len(set(asked)) > 0


def test_the_moving_picture_is_small():
    assert (ROOT / "docs" / "page.webp").stat().st_size < 1_500_000
