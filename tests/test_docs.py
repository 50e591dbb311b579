"""The documents against the code: what a user meets is written down, what is written down exists and runs."""

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from engine.causal import BAR_COLUMNS
from engine.strategy import decide
from pipelines.cli.main import app
from quality.bars import ROW_RULES
from quality.datasets import Dataset
from quality.policies import Costs, Limit, ServiceLevel
from quality.promotion import PromotionPolicy
from quality.strategies import StrategyConfiguration
from quality.tables import TABLES
from resources.project import load
from tests.bar_frames import random_walk

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "resources").rglob("*.md")),
]
PACKAGES = ("engine", "quality", "resources", "assets", "pipelines", "strategies")
MODELS = (Dataset, StrategyConfiguration, ServiceLevel, Costs, PromotionPolicy)

# Words of the glossary's last column that have no second meaning a name could be using.
SYNONYMS = {
    *("ticker", "candle", "security", "provider", "vendor", "rejects", "coverage", "alpha", "prediction", "allocation"),
    *("transaction", "commission", "friction", "balance", "nav", "dd", "leakage", "train"),
    *("rollback", "decay", "divergence"),
}
ALLOWED = {
    "alpha": {"engine/indicators.py"},  # an exponential mean's weight
    "symbol": {"quality/datasets.py", "resources/sources/protocol.py"},  # what a source calls an instrument
}


def commands() -> dict[str, Any]:
    """Every command that does something, by what a user types."""
    found: dict[str, Any] = {}
    groups = {"gauntlet": typer.main.get_command(app)}
    while groups:
        path, group = groups.popitem()
        named = {f"{path} {name}": command for name, command in group.commands.items()}  # type: ignore[attr-defined]
        groups |= {path: command for path, command in named.items() if hasattr(command, "commands")}
        found |= {path: command for path, command in named.items() if path not in groups}
    return found


def targets() -> list[str]:
    return re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def rows(page: str, heading: str) -> set[str]:
    """What stands in backticks in the first column of the tables under a heading."""
    section = re.split(r"^## ", page.split(f"## {heading}\n", 1)[1], flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| *(\[?`[^|]*) *\|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def identifiers(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                found.add(name)
    return found


def words(identifier: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


@pytest.mark.parametrize("command", [*commands()])
def test_every_command_is_in_the_readme(command):
    assert f"`{command}" in README


@pytest.mark.parametrize("target", targets())
def test_every_target_of_make_is_in_the_readme(target):
    assert f"`make {target}`" in README


def test_the_readme_promises_no_target_and_no_command_that_does_not_exist():
    promised = re.findall(r"`make ([a-z-]+)`|^    make ([a-z-]+)", README, re.MULTILINE)
    assert {one or other for one, other in promised} == set(targets())
    known = {path.split()[1] for path in commands()}
    assert set(re.findall(r"`gauntlet ([a-z]+)", README)) == known


def test_every_option_of_a_command_is_beside_it_in_the_readme():
    for path, command in commands().items():
        (line,) = [line for line in README.splitlines() if line.startswith(f"| `{path}")]
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        assert options <= {*re.findall(r"--[a-z-]+", line), "--help"}, path


def test_the_glossary_has_every_table_of_the_lake_and_no_other():
    assert rows(GLOSSARY, "Tables of the lake") == set(TABLES)


def test_the_glossary_has_every_asset_and_no_other():
    from pipelines.code_location import build
    from pipelines.workplace import open_workplace

    assets = build(open_workplace()).resolve_asset_graph().get_all_asset_keys()
    assert rows(GLOSSARY, "Assets") == {key.path[-1] for key in assets}


def test_the_glossary_has_every_row_rule_and_no_other():
    assert rows(GLOSSARY, "Row rules") == set(ROW_RULES)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_of_a_file_is_in_the_readme(model):
    shown = {key for text in fenced(README, "yaml") for key in yaml.safe_load(text)}
    written = {name for code in re.findall(r"`([^`\n]+)`", README) for name in re.findall(r"[a-z_]+", code)}
    assert keys(model) <= shown | written


def test_every_section_of_a_policy_and_every_severity_is_in_the_readme():
    project = load(ROOT)
    severities = Limit.model_fields["severity"].annotation.__args__
    for name in (*project.sla, *project.costs, *project.datasets, *severities):
        assert f"`{name}`" in README or f"{name}`" in README, name


def test_every_strategy_that_comes_with_the_package_is_in_the_readme():
    names = {definition.configuration.name for definition in load(ROOT).strategies.values()}
    assert names <= rows(README, "The files you edit")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    links = re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    )
    for link in (link for link in links if not re.match(r"[a-z]+:", link)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link} in {page.name}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{link} in {page.name}"


def test_pictures_are_small_enough_to_be_cloned():
    assert all(picture.stat().st_size < 200_000 for picture in (ROOT / "docs/images").iterdir())


def test_decisions_are_numbered_without_a_gap():
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in decisions] == list(range(1, len(decisions) + 1))
    for page in decisions:
        assert page.read_text().startswith(f"# {page.name[:4]} ")


def test_the_changelog_has_the_version_of_the_project():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"## {version[1]}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_glossary_lists_every_synonym_that_the_code_must_not_use():
    not_these = " ".join(re.findall(r"\| ([^|]+) \|$", GLOSSARY, re.MULTILINE)).lower()
    assert {*SYNONYMS, "symbol"} <= set(re.findall(r"[a-z]+", not_these))


def test_names_in_the_code_are_those_of_the_glossary():
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        where = file.relative_to(ROOT).as_posix()
        used = {word for identifier in identifiers(file.read_text()) for word in words(identifier)}
        refused = {word for word in used & {*SYNONYMS, "symbol"} if where not in ALLOWED.get(word, ())}
        assert not refused, f"{where} calls something {refused}; docs/glossary.md has the word"


def test_no_name_begins_with_is_where_in_sample_is_meant():
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        measures = {name for name in identifiers(file.read_text()) if re.match(r"is_(sharpe|net|return|windows)", name)}
        assert not measures, file


def test_the_strategy_in_the_readme_runs_as_it_stands(tmp_path):
    for folder in ("datasets", "policies"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "strategies").mkdir()
    (signal,) = (text for text in fenced(README, "python") if "(Strategy)" in text)
    (configuration,) = fenced(README, "yaml")
    (tmp_path / "strategies/breakout.py").write_text(signal)
    (tmp_path / "strategies/breakout.yaml").write_text(configuration)

    (definition,) = load(tmp_path).strategies.values()
    strategy = definition.signal(**definition.configuration.parameters())
    decided = decide(strategy, {"1h": random_walk("1h", 1_000, seed=1)}, "1h")

    assert decided["enter"].any()
    assert decided["exit"].any()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_piece_of_python_in_a_page_can_be_compiled(page):
    for text in fenced(page.read_text(), "python"):
        compile(text, page.name, "exec")


def test_columns_that_the_readme_gives_to_a_strategy_exist():
    assert set(re.findall(r"`bars\.([a-z]+)`", README)) <= set(BAR_COLUMNS)
