"""The architecture, held by a machine: who may import whom, one door to the outside, names that are ours alone."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "quality", "resources", "assets", "pipelines")
SOURCES = sorted(file for package in (*PACKAGES, "strategies") for file in (ROOT / package).rglob("*.py"))
LOCKS = sorted(ROOT.glob("requirements*.txt"))
SLOW = ("great_expectations", "arch", "ccxt", "httpx", "pandera", "numba", "exchange_calendars", "scipy", "stamina")
NETWORK = ("httpx.", "ccxt.", "requests.", "aiohttp.", "socket.", "urllib.request.", "http.client.", "stamina.")
CLOCK = {
    *(f"datetime.{name}" for name in ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")),
    *(f"time.{name}" for name in ("time", "time_ns", "gmtime", "localtime", "ctime", "strftime")),
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv"}
CHANCE = ("random.", "secrets.", "numpy.random.", "os.urandom", "uuid.uuid1", "uuid.uuid4")
SEEDED = {"numpy.random.default_rng", "numpy.random.Generator", "numpy.random.SeedSequence"}
MACHINE_PATH = re.compile(r"(?<![\w./:>}-])/(?:home|Users|root|work)/[\w.-]+|\b[A-Z]:\\\\?Users\b")
ADDRESS = re.compile(r"https?://|--(?:extra-)?index-url|--find-links|--trusted-host|^-[if]\s", re.MULTILINE)


@cache
def names_used(source: str) -> set[str]:
    """Every dotted name a module uses, by where it comes from: `now` is `datetime.datetime.now` after any import."""
    tree = ast.parse(source)
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {each.asname: each.name for each in node.names if each.asname}
            known |= {top: top for each in node.names if not each.asname for top in each.name.split(".")[:1]}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    names = (_dotted(node, known) for node in ast.walk(tree) if isinstance(node, ast.expr))
    return {name for name in names if name}


def _dotted(node: ast.expr, known: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, known)):
        return f"{owner}.{node.attr}"
    return None


def users_of(doors: set[str]) -> set[str]:
    """Which of our files use one of the names."""
    return {file.relative_to(ROOT).as_posix() for file in SOURCES if names_used(file.read_text()) & doors}


def unseeded(source: str) -> set[str]:
    """Names through which chance comes in without a seed."""
    without = {"default_rng()"} if "default_rng()" in source else set()
    return {name for name in names_used(source) if name.startswith(CHANCE)} - SEEDED | without


def committed_texts() -> Iterator[tuple[str, str]]:
    """The text files of the checkout, without what `.gitignore` names."""
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()} | {".git"}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ignored and not name.endswith(".egg-info")]
        for name in files:
            path = Path(folder, name)
            if name in ignored or path.suffix in {".parquet", ".png", ".nbi", ".nbc"}:
                continue
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def imported_by(module: str, home: Path) -> set[str]:
    """The top-level modules that are loaded after importing `module` in a process of its own."""
    say = f"import sys, {module}; print(*sys.modules)"
    environment = {**os.environ, "GAUNTLET_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", say], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_dependencies_point_one_way() -> None:
    # In a process of its own: its command line silences every logger there is, and with them other tests' caplog.
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_room_is_under_the_contracts() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    layers, _ = tool["importlinter"]["contracts"]
    assert tuple(reversed(layers["layers"])) == PACKAGES
    assert set(tool["importlinter"]["root_packages"]) == set(PACKAGES)
    assert set(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert {file.parent.name for file in ROOT.glob("*/__init__.py")} == {*PACKAGES, "tests"}


def test_no_installed_distribution_claims_a_name_of_ours() -> None:
    claims = {}
    for distribution in distributions():
        record = (distribution.read_text("RECORD") or "").splitlines()
        tops = {line.partition(",")[0].partition("/")[0].removesuffix(".py") for line in record}
        if claimed := tops & set(PACKAGES):
            claims[distribution.name] = claimed
    assert claims == {}


def test_no_name_of_ours_is_in_the_standard_library() -> None:
    assert not set(PACKAGES) & sys.stdlib_module_names


def test_annotations_are_values_because_dagster_reads_them() -> None:
    postponed = [file.name for file in SOURCES if re.search(r"^from __future__ import", file.read_text(), re.MULTILINE)]
    assert postponed == []


@pytest.mark.slow
def test_the_clock_has_one_door() -> None:
    assert users_of(CLOCK) == {"resources/clock.py"}


def test_the_environment_has_one_door() -> None:
    assert users_of(ENVIRONMENT) == {"resources/settings.py"}


def test_the_network_has_one_door_and_ccxt_another() -> None:
    users = {
        file.relative_to(ROOT).as_posix(): found
        for file in SOURCES
        if (found := {name for name in names_used(file.read_text()) if f"{name}.".startswith(NETWORK)})
    }
    assert users.keys() == {"resources/http.py", "resources/sources/ccxt_source.py"}
    assert all(name.startswith("ccxt") for name in users["resources/sources/ccxt_source.py"])


def test_chance_comes_in_through_a_seed_and_no_other_way() -> None:
    assert {file.name: names for file in SOURCES if (names := unseeded(file.read_text()))} == {}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param("import datetime\ndatetime.datetime.now()", "datetime.datetime.now", id="by its module"),
        pytest.param("from datetime import datetime\ndatetime.now()", "datetime.datetime.now", id="by its class"),
        pytest.param("from time import time as t\nt()", "time.time", id="under another name"),
        pytest.param("import numpy as np\nnp.random.rand()", "numpy.random.rand", id="of a module under another name"),
        pytest.param("import os.path\nos.environ['A']", "os.environ", id="of the package of an imported module"),
    ],
)
def test_a_name_is_found_however_it_was_imported(source: str, name: str) -> None:
    assert name in names_used(source)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.monotonic()",
        "def now(): ...\nnow()",
        "x.environ",
        "import numpy as np\nnp.random.default_rng(7)",
    ],
)
def test_what_only_looks_like_a_door_is_none(source: str) -> None:
    assert not names_used(source) & (CLOCK | ENVIRONMENT)
    assert not unseeded(source)


def test_help_is_printed_without_dagster_and_polars(tmp_path: Path) -> None:
    loaded = imported_by("pipelines.cli.main", tmp_path)
    assert "typer" in loaded
    assert not loaded & {"dagster", "polars", "numpy", "pydantic", *SLOW}


@pytest.mark.slow
def test_the_code_location_loads_without_slow_libraries(tmp_path: Path) -> None:
    loaded = imported_by("pipelines.definitions", tmp_path)
    assert "dagster" in loaded
    assert not loaded & set(SLOW)


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_every_pinned_package_carries_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    entries = re.findall(r"^[^\s#].*$", text.replace("\\\n", ""), re.MULTILINE)
    assert len(entries) > 50
    assert [entry for entry in entries if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert ADDRESS.findall(text) == []


def test_no_file_names_an_index_or_a_place_on_one_machine() -> None:
    texts = dict(committed_texts())
    assert {"pyproject.toml", "Makefile", "resources/lake.py", ".gitignore"} <= texts.keys()
    index = re.compile(r"index-url\s*=|\[\[tool\.uv\.index|UV_INDEX|PIP_INDEX")
    found = {
        name: [*MACHINE_PATH.findall(text), *index.findall(text)]
        for name, text in texts.items()
        if name != "tests/test_architecture.py"
    }
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize("place", ["/home/" + "me/data", "cd /work/" + "main", '"/Users/' + 'me"'])
def test_a_place_on_a_machine_is_recognized(place: str) -> None:
    assert MACHINE_PATH.search(place)
