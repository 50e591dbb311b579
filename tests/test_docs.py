"""The documents against the code: what a user meets is written down, what is written down exists and runs."""

import ast
import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from benchmarks.run import BENCHMARKS, RESULTS, with_table
from engine.causal import BAR_COLUMNS
from engine.regimes import CLASSIFIERS
from engine.signals.registry import GROUPS, SIGNALS
from engine.signals.signal_class import settings_of
from engine.strategy import Market, decide
from pipelines.cli.main import app
from quality import datasets, sizing
from quality.bars import ROW_RULES
from quality.configuration import Record, parse
from quality.datasets import Dataset, FormerName, Instrument
from quality.formats import Format
from quality.policies import CalendarsPolicy, Correction, Costs, Freshness, Limit, Resample, ServiceLevel
from quality.promotion import PromotionPolicy
from quality.regimes import Regimes, RegimesPolicy, RegimeTerms
from quality.risk import Risk
from quality.scenarios import Scenario
from quality.strategies import Account, Exits, StrategyConfiguration
from quality.tables import TABLES
from quality.universe import Universe, UniversePolicy
from quality.vocabulary import refused
from resources.lake import Lake
from resources.project import Project, load
from resources.warehouse import Warehouse, ask
from tests.bar_frames import random_walk

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "resources").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]
PACKAGES = ("engine", "quality", "resources", "assets", "pipelines", "strategies")
MODELS = (
    Dataset,
    Instrument,
    StrategyConfiguration,
    ServiceLevel,
    Limit,
    Resample,
    Freshness,
    Costs,
    Risk,
    PromotionPolicy,
)
SOURCES = {source.model_fields["kind"].annotation.__args__[0]: source for source in datasets.Source.__origin__.__args__}
GUIDED = {
    "check": (Correction,),
    "corporate-actions": (FormerName,),
    "signals-and-regimes": (Regimes, RegimeTerms),
    "size-and-risk": (Account, Exits, *sizing.Sizer.__origin__.__args__),
    "sources": (SOURCES["sample"], SOURCES["ccxt"], SOURCES["http_daily"], SOURCES["synthetic"]),
    "universe": (Universe,),
    "your-own-files": (SOURCES["files"],),
}


class Sourced(Record):
    source: datasets.Source


class Listed(Record):
    instruments: tuple[Instrument, ...]


class Featured(Record):
    features: dict[str, datasets.Feature]


EXAMPLES: dict[str, tuple[type[BaseModel], ...]] = {
    "README.md": (Dataset, StrategyConfiguration),
    "docs/guides/bar-files.md": (Format,),
    "docs/guides/check.md": (CalendarsPolicy,),
    "docs/guides/corporate-actions.md": (Listed,),
    "docs/guides/fills.md": (Scenario,) * len([*(ROOT / "docs/guides/fills").iterdir()]),
    "docs/guides/indicators.md": (Featured,),
    "docs/guides/signals-and-regimes.md": (StrategyConfiguration, RegimesPolicy),
    "docs/guides/size-and-risk.md": (StrategyConfiguration,),
    "docs/guides/sources.md": (Sourced,) * 5,
    "docs/guides/universe.md": (UniversePolicy,),
    "docs/guides/your-own-files.md": (Sourced,),
}

# Words of the glossary's last column that have no second meaning a name could be using.
SYNONYMS = {
    *("ticker", "candle", "security", "provider", "vendor", "rejects", "coverage", "alpha", "prediction", "allocation"),
    *("transaction", "commission", "friction", "balance", "nav", "dd", "leakage", "train"),
    *("rollback", "decay", "divergence"),
}
ALLOWED = {
    "alpha": {"engine/indicators/making.py"},  # an exponential mean's weight
    "symbol": {
        *("quality/datasets.py", "resources/sources/protocol.py"),  # what a source calls an instrument
        *("engine/simulator/inputs.py", "quality/risk.py"),  # the contract's `symbol_cooldown_active`
        *("engine/simulator/packing.py", "engine/simulator/scenario.py"),
        *("engine/simulator/words.py", "engine/simulator/risk.py"),
        "engine/simulator/compiled.py",  # what a linker resolves
    },
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


def nested(value: Any) -> set[str]:
    """Every key of a document, at any depth."""
    if isinstance(value, list):
        return {key for one in value for key in nested(one)}
    return {*map(str, value), *nested(list(value.values()))} if isinstance(value, dict) else set()


def written(page: str) -> set[str]:
    """Every word that stands in backticks."""
    return {name for code in re.findall(r"`([^`\n]+)`", page) for name in re.findall(r"[a-z_]+", code)}


def asked_of_sql(page: str) -> list[str]:
    """The queries a page shows: in fences, and behind `gauntlet sql`."""
    in_fences = [query.strip() for text in fenced(page, "sql") for query in text.split(";")]
    return [query for query in in_fences if query] + re.findall(r'^ *gauntlet sql [^"\n]*"(.+?)"', page, re.MULTILINE)


def project_with_every_kind(root: Path) -> Project:
    """The shipped project, and a data set of each other kind of source."""
    for folder in ("datasets", "policies", "strategies"):
        shutil.copytree(ROOT / folder, root / folder)
    example, _ = fenced(README, "yaml")
    others = {"files": "kind: files", "ccxt": "kind: ccxt, exchange: binance", "synthetic": "kind: synthetic, seed: 7"}
    for kind, source in others.items():
        text = example.replace("my_bars", f"by_{kind}").replace("kind: files", source)
        (root / f"datasets/by_{kind}.yaml").write_text(text)
    daily = {
        "24/7": "XNYS",
        "5m": "1d",
        "[1h, 1d]": "[]",
        "kind: files": "kind: http_daily",
        "my_bars": "by_http_daily",
    }
    for old, new in daily.items():
        example = example.replace(old, new)
    (root / "datasets/by_http_daily.yaml").write_text(example)
    return load(root)


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
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
    assert set(re.findall(r"`gauntlet ([a-z-]+)", README)) == known


def test_every_option_of_a_command_is_beside_it_in_the_readme():
    for path, command in commands().items():
        (line,) = [line for line in README.splitlines() if re.match(rf"\| `{path}[ `]", line)]
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        assert options <= {*re.findall(r"--[a-z-]+", line), "--help"}, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_in_a_page_is_one_with_these_options(page):
    known = {
        path: {option for parameter in command.params for option in parameter.opts}
        for path, command in commands().items()
    }
    there, *_ = page.read_text().split("### Not there yet\n")  # what the changelog says of later
    for line in re.findall(r"(?:^ *|`|\bbin/)gauntlet ([a-z][^`\n]*)", there, re.MULTILINE):
        (path,) = [path for path in known if re.match(rf"{path}(?![\w-])", f"gauntlet {line}")] or [None]
        assert path, f"gauntlet {line}"
        assert set(re.findall(r"--[a-z-]+", line.partition("#")[0])) <= known[path], f"gauntlet {line}"


def test_the_glossary_has_every_table_of_the_lake_and_no_other():
    assert rows(GLOSSARY, "Tables of the lake") == set(TABLES)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What Dagster shows of a project with every kind of source."""
    from pipelines.code_location import build
    from pipelines.workplace import open_workplace

    root = tmp_path_factory.mktemp("every_kind")
    project_with_every_kind(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAUNTLET_PROJECT", str(root))
        patch.setenv("GAUNTLET_HOME", str(root / "home"))
        return build(open_workplace()).get_repository_def()


def without_datasets(names, known):
    """Names with `<data set>` for that of a data set."""
    return {re.sub("|".join(sorted(known, key=len, reverse=True)), "<data set>", name) for name in names}


def test_the_glossary_has_every_asset_and_no_other(repository):
    assert rows(GLOSSARY, "Assets") == {key.path[-1] for key in repository.asset_graph.get_all_asset_keys()}


def test_the_glossary_has_every_check_and_no_other(repository):
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    assert rows(GLOSSARY, "Checks") == checks - rows(GLOSSARY, "SLA rules")


def test_the_glossary_has_every_job_schedule_and_sensor_and_no_other(repository):
    known = {key.path[0] for key in repository.asset_graph.get_all_asset_keys() if len(key.path) > 1}
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    schedules = {schedule.name for schedule in repository.schedule_defs}
    sensors = {sensor.name for sensor in repository.sensor_defs}
    assert rows(GLOSSARY, "Jobs, schedules and sensors") == without_datasets(jobs | schedules, known) | sensors


def test_the_glossary_has_every_sla_rule_and_no_other():
    rules = {name for name, field in ServiceLevel.model_fields.items() if field.annotation in (Limit, Limit | None)}
    assert rows(GLOSSARY, "SLA rules") == rules


def test_the_glossary_has_every_row_rule_and_no_other():
    assert rows(GLOSSARY, "Row rules") == set(ROW_RULES)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_of_a_file_is_in_the_readme(model):
    shown = {key for text in fenced(README, "yaml") for key in yaml.safe_load(text)}
    assert keys(model) <= shown | written(README)


@pytest.mark.parametrize("guide", GUIDED)
def test_every_key_of_what_a_guide_is_about_is_in_it(guide):
    page = (ROOT / f"docs/guides/{guide}.md").read_text()
    shown = {key for text in fenced(page, "yaml") for key in nested(yaml.safe_load(text))}
    for model in GUIDED[guide]:
        assert keys(model) <= shown | written(page), model.__name__


def test_every_kind_of_source_is_in_the_readme():
    assert all(f"`{kind}`" in README for kind in SOURCES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_example_of_configuration_is_read_without_a_complaint(page):
    name = page.relative_to(ROOT).as_posix()
    for text, model in zip(fenced(page.read_text(), "yaml"), EXAMPLES.get(name, ()), strict=True):
        parse(text, model, file=name)


def test_the_data_set_in_the_readme_is_whole_with_any_source(tmp_path):
    assert {one.source.kind for one in project_with_every_kind(tmp_path).datasets.values()} == set(SOURCES)


@pytest.mark.slow
def test_every_query_in_a_page_can_be_asked(tmp_path):
    lake = Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))
    warehouse = Warehouse(path=str(tmp_path / "warehouse.duckdb"))
    with warehouse.over(lake) as connection:
        for query in (query for page in PAGES for query in asked_of_sql(page.read_text())):
            list(ask(connection, query).rows)


def test_every_section_of_a_policy_and_every_severity_is_in_the_readme():
    project = load(ROOT)
    severities = Limit.model_fields["severity"].annotation.__args__
    for name in (
        *project.sla,
        *project.costs,
        *project.risk,
        *project.regimes,
        *project.universes,
        *project.datasets,
        *severities,
    ):
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


def test_every_benchmark_is_described():
    assert rows((ROOT / "benchmarks/README.md").read_text(), "What is measured") == set(BENCHMARKS)


def test_figures_of_benchmarks_are_those_that_were_measured():
    page = (ROOT / "benchmarks/README.md").read_text()
    assert with_table(page, json.loads(RESULTS.read_text())) == page


def test_the_glossary_lists_every_synonym_that_the_code_must_not_use():
    not_these = " ".join(re.findall(r"\| ([^|]+) \|$", GLOSSARY, re.MULTILINE)).lower()
    assert {*SYNONYMS, "symbol"} <= set(re.findall(r"[a-z]+", not_these))


@pytest.mark.slow
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
    _, configuration = fenced(README, "yaml")
    (tmp_path / "strategies/breakout.py").write_text(signal)
    (tmp_path / "strategies/breakout.yaml").write_text(configuration)

    (definition,) = load(tmp_path).strategies.values()
    strategy = definition.signal(**definition.configuration.parameters())
    decided = decide(strategy, {"1h": random_walk("1h", 1_000, seed=1)}, "1h")

    assert decided["enter"].any()
    assert decided["exit"].any()


@pytest.mark.parametrize(
    "signal", fenced((ROOT / "docs/guides/columns.md").read_text(), "python"), ids=["columns", "loop"]
)
def test_a_strategy_in_the_guide_to_columns_says_only_what_it_may_and_decides(signal):
    assert refused(signal, file="columns.md") == []
    names: dict[str, Any] = {"__name__": "guide"}
    exec(signal, names)  # noqa: S102 - a page of ours
    (made,) = (kind for kind in names.values() if isinstance(kind, type) and kind.__module__ == "guide")
    frames = {
        name: {"1h": random_walk("1h", 1_000, seed=k), "1d": random_walk("1d", 41, seed=k)}
        for k, name in enumerate(("A", "B", "BTCUSD.BITFINEX"))
    }
    decided = decide(made(), frames["A"], "1h", Market("A", frames))
    assert decided["enter"].any() or (decided["weight"] > 0).any()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_piece_of_python_in_a_page_can_be_compiled(page):
    for text in fenced(page.read_text(), "python"):
        compile(text, page.name, "exec")


def test_columns_that_the_readme_gives_to_a_strategy_exist():
    assert set(re.findall(r"`bars\.([a-z]+)`", README)) <= set(BAR_COLUMNS)


REGIMES_GUIDE = (ROOT / "docs/guides/signals-and-regimes.md").read_text()


def test_the_guide_to_signals_builds_in_python_what_it_writes_in_yaml():
    (code,) = fenced(REGIMES_GUIDE, "python")
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - a page of ours
    text, _ = fenced(REGIMES_GUIDE, "yaml")
    assert names["draft"].configuration() == parse(text, StrategyConfiguration, file="guide")


def test_the_guide_to_signals_has_every_class_with_its_group_and_defaults():
    for name, one in SIGNALS.items():
        (line,) = [line for line in REGIMES_GUIDE.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(f"`{key}` {setting.default:g}" in line for key, setting in settings_of(one).items()), line
        assert [group for group in GROUPS if f"`{group}`" in line] == ([one.group] if one.group else [])


def test_the_guide_to_regimes_has_every_classifier_with_its_regimes_and_length():
    for name, one in CLASSIFIERS.items():
        (line,) = [line for line in REGIMES_GUIDE.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(f"`{regime}`" in line for regime in one.names)
        assert str(one.length) in line
