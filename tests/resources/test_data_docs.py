"""Data Docs against the record of the SLA, on real bars with defects. Great Expectations alone takes seconds."""

import re
import socket
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import NamedTuple, NoReturn

import dagster as dg
import pytest

from assets import inputs
from assets.data_docs import data_docs_assets, is_due
from quality.expectations import NEED_A_CALENDAR
from quality.policies import Limit
from resources.data_docs import DataDocs, Report
from resources.errors import NoWarehouseError
from resources.lake import Lake
from resources.project import Project, load
from resources.warehouse import Warehouse
from tests.judged_sample import DATASET, INSTRUMENTS, judged_tables, limit, policy
from tests.small_project import write_project

pytestmark = pytest.mark.slow
SINCE = date(2017, 7, 10)
LEVEL = policy(
    completeness=Limit.model_validate({"at_least": 0.99, "severity": "enforce", "why": "for the test"}),
    jump=limit(at_most=0.02),
    stale_run=limit(at_most=2),
    disorder=limit(at_most=0, severity="enforce", since=SINCE),
)
_LINK = re.compile(r'href="((?!https?:|#|javascript)[^"?#]+\.html)')


class Built(NamedTuple):
    """A lake, its warehouse and the pages over it."""

    home: Path
    lake: Lake
    sql: Warehouse
    project: Project
    docs: DataDocs
    report: Report
    left_elsewhere: set[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("project")
    home = root / "home"
    lake = Lake(root=str(home / "lake"), lock_path=str(home / "lock"))
    for name, frame in judged_tables(LEVEL).items():
        lake.replace(name, frame, dataset=DATASET)
    sql, docs = Warehouse(path=str(home / "warehouse.duckdb")), DataDocs(path=str(home / "data_docs"))
    sql.rebuild(lake)
    project = load(write_project(root))._replace(sla={"crypto": LEVEL})
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse_to_connect)
        patch.setattr(tempfile, "tempdir", str(elsewhere))
        patch.setenv("HOME", str(elsewhere))
        patch.chdir(elsewhere)
        report = docs.build(sql, project)
    left = {path.name for path in elsewhere.rglob("*") if path.is_file()}
    return Built(home, lake, sql, project, docs, report, left)


def refuse_to_connect(*_: object) -> NoReturn:
    msg = "Data Docs are made without a network"
    raise AssertionError(msg)


def test_every_verdict_is_that_of_the_record(built: Built) -> None:
    """Every instrument, session and rule: there is one truth, and the pages show it."""
    record = built.lake.read("sla_record", dataset=DATASET)
    rows = record.select("rule", "enforced", "instrument", "session", "passed").rows()
    recorded = {
        (rule, enforced, instrument, str(session)) for rule, enforced, instrument, session, passed in rows if not passed
    }
    shown = {
        (one.column, one.enforced, instrument, session)
        for one in built.report.outcomes
        if one.suite == f"{DATASET}.sla"
        for instrument, session in one.broken
    }
    assert shown == recorded
    assert {rule for rule, *_ in shown} == set(LEVEL.limits) - {"stale_run"}, "which real bars keep"
    n_checked = sum(one.n_checked for one in built.report.outcomes if one.suite == f"{DATASET}.sla")
    assert n_checked == record.height
    assert built.report.passed is False


def test_every_row_rule_that_needs_no_calendar_was_held_against_every_session(built: Built) -> None:
    rows = [one for one in built.report.outcomes if one.suite == f"{DATASET}.rows"]
    assert [one for one in rows if one.broken] == []
    assert {one.n_checked for one in rows} == {len(INSTRUMENTS) * 21}
    assert not NEED_A_CALENDAR & {one.column.removeprefix("unmatched_") for one in rows}


def test_the_pages_can_be_browsed_from_the_first_one_without_a_network(built: Built) -> None:
    first = built.report.page
    assert first == built.home / "data_docs" / "index.html"
    seen, todo = set(), [first]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        todo += [(page.parent / link).resolve() for link in _LINK.findall(page.read_text())]
    assert all(page.is_file() for page in seen)
    assert seen >= set((built.home / "data_docs" / "validations").rglob("*.html"))
    assert "crypto_5m.sla</a>: 1 of 8 expectations kept" in first.read_text()


def test_nothing_is_left_outside_the_home_and_no_picture_counts_who_looks(built: Built) -> None:
    assert built.left_elsewhere == set()
    assert {path.name for path in built.home.iterdir()} == {"lake", "warehouse.duckdb", "data_docs"}
    assert not [page for page in built.home.rglob("*.html") if re.search(r"<img[^>]+https?:", page.read_text())]


def test_the_same_warehouse_gives_the_same_pages(built: Built) -> None:
    before = {page: page.read_bytes() for page in (built.home / "data_docs").rglob("*") if page.is_file()}
    again = built.docs.build(built.sql, built.project)
    assert again == built.report
    assert {page: page.read_bytes() for page in (built.home / "data_docs").rglob("*") if page.is_file()} == before


def test_the_asset_links_its_pages_and_is_due_when_the_warehouse_changed(built: Built) -> None:
    assert not is_due(built.lake)
    inputs.record(built.lake, "warehouse", {inputs.ALL: "sha256:of the tables"}, run_id="r")
    assert is_due(built.lake)
    result = dg.materialize(
        data_docs_assets(built.project),
        resources={"lake": built.lake, "sql": built.sql, "docs": built.docs},
        instance=dg.DagsterInstance.ephemeral(),
    )
    (materialization,) = result.asset_materializations_for_node("data_docs")
    metadata = materialization.metadata
    assert metadata["page"].value == built.report.page.as_uri()
    assert metadata["broken"].value == len(built.report.broken)
    assert {record.data["suite"] for record in metadata["broken_expectations"].records} == {"crypto_5m.sla"}
    assert not is_due(built.lake)


def test_a_data_set_of_which_nothing_was_judged_has_no_pages(built: Built, tmp_path: Path) -> None:
    empty = Warehouse(path=str(tmp_path / "warehouse.duckdb"))
    empty.rebuild(Lake(root=str(tmp_path / "lake"), lock_path=""))
    report = DataDocs(path=str(tmp_path / "data_docs")).build(empty, built.project)
    assert report.outcomes == ()
    assert report.passed
    assert report.page.is_file()


def test_without_a_warehouse_there_is_nothing_to_judge(built: Built, tmp_path: Path) -> None:
    docs = DataDocs(path=str(tmp_path / "data_docs"))
    with pytest.raises(NoWarehouseError, match="there is no warehouse yet"):
        docs.build(Warehouse(path=str(tmp_path / "none.duckdb")), built.project)
    assert not (tmp_path / "data_docs").exists()


@pytest.mark.parametrize(
    ("dataset", "code", "told"),
    [(DATASET, 1, "broken  crypto_5m.sla  completeness"), (None, 2, "there is no warehouse yet")],
)
def test_the_command_says_what_is_broken_and_where_to_look(
    tmp_path: Path, dataset: str | None, code: int, told: str
) -> None:
    root = write_project(tmp_path)
    home = root / "home"
    if dataset:
        lake = Lake(root=str(home / "lake"), lock_path="")
        for name, frame in judged_tables(load(root).sla["crypto"]).items():
            lake.replace(name, frame, dataset=dataset)
        Warehouse(path=str(home / "warehouse.duckdb")).rebuild(lake)
    run = subprocess.run(
        [Path(sys.executable).with_name("gauntlet"), "data-docs"],
        env={"GAUNTLET_PROJECT": str(root), "GAUNTLET_HOME": str(home), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert told in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    if dataset:
        assert run.stdout.splitlines()[-1] == str(home / "data_docs" / "index.html")
