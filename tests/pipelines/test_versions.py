"""Strategy versions: registered once, refused when changed, living on beside newer ones; a bad one fails alone."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from assets.partitions import STRATEGIES
from pipelines import night
from pipelines.code_location import build
from pipelines.registration import with_older_versions
from pipelines.run_night import Done
from pipelines.workplace import Workplace, open_unattended, open_workplace
from quality.errors import ConfigurationError
from quality.ledger import Draft, stages
from resources.clock import now
from tests.small_project import CONFIGURATION, SIGNAL, STRATEGY, instance, open_small, quiet_night

NEWER = "small_cross@1.1.0"


@pytest.fixture
def root(after: Workplace) -> Path:
    return after.settings.project


def edit(root: Path, suffix: str, *pairs: tuple[str, str], name: str = "small_cross") -> None:
    path = root / "strategies" / f"{name}{suffix}"
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def bump(root: Path) -> None:
    edit(root, ".yaml", ("version: 1.0.0", "version: 1.1.0"))
    edit(root, ".py", ("crossed_below(fast, slow)", "bars.close < slow"))


def add(root: Path, name: str, body: str) -> None:
    """Another strategy whose `signals` has this body."""
    (root / f"strategies/{name}.yaml").write_text(CONFIGURATION.replace("small_cross", name))
    (root / f"strategies/{name}.py").write_text(SIGNAL.split("        fast, slow")[0] + f"        {body}\n")


def registered(workplace: Workplace) -> list[str | None]:
    return [one.strategy for one in workplace.ledger.store().entries() if one.kind == "registered"]


def due(workplace: Workplace) -> list[str]:
    return [str(work) for work in night.due(workplace, night.as_of_now(workplace, at=now()))]


def test_an_older_version_lives_on_beside_the_newer_one(root: Path) -> None:
    bump(root)
    workplace = open_workplace()
    assert sorted(workplace.project.strategies) == [STRATEGY, NEWER]
    assert quiet_night(workplace).failed == []
    assert registered(workplace) == [STRATEGY, NEWER]
    for table in ("certificates", "scorecards", "equity", "windows", "reviews", "snapshots"):
        assert set(workplace.lake.read(table)["strategy"]) == {STRATEGY, NEWER}, table
    assert due(workplace) == []
    codes = {key: one.code_hash for key, one in workplace.project.strategies.items()}
    assert codes[STRATEGY] != codes[NEWER]
    assert instance().get_dynamic_partitions(str(STRATEGIES.name)) == [STRATEGY, NEWER]


def test_what_is_researched_of_an_older_version_is_what_was_researched_before(root: Path, after: Workplace) -> None:
    before = after.lake.read("equity", strategy=STRATEGY).sort("scope", "session")
    bump(root)
    workplace = open_workplace()
    nothing = workplace.lake.read("equity").clear()
    workplace.lake.replace("equity", nothing, strategy=STRATEGY)
    steps = ["backtest", "walk_forward"]
    workplace.lake.replace("work_record", workplace.lake.read("work_record").clear(), step=steps)
    quiet_night(workplace)
    assert workplace.lake.read("equity", strategy=STRATEGY).sort("scope", "session").equals(before)


def test_a_registered_version_that_changed_is_refused_by_name(root: Path) -> None:
    edit(root, ".py", ("crossed_above(fast, slow)", "crossed_above(slow, fast)"))
    with pytest.raises(
        ConfigurationError, match=r"strategies/small_cross.yaml: small_cross@1.0.0 is registered with other code"
    ):
        quiet_night(open_workplace())
    edit(root, ".yaml", ("share: 0.5", "share: 0.4"))
    with pytest.raises(ConfigurationError, match="with other code and configuration, expected a new version"):
        quiet_night(open_workplace())


def test_a_comment_changes_no_version(root: Path) -> None:
    edit(root, ".py", ("class SmallCross", "# as ever\nclass SmallCross"))
    edit(root, ".yaml", ("costs:", "# as ever\ncosts:"))
    assert quiet_night(open_workplace()).run_ids == []


def test_in_a_scheduled_night_what_changed_goes_on_as_it_was_registered(root: Path, after: Workplace) -> None:
    before = after.project.strategies[STRATEGY]
    edit(root, ".py", ("crossed_above(fast, slow)", "crossed_above(slow, fast)"))
    workplace = open_unattended()
    now_ = workplace.project.strategies[STRATEGY]
    assert (now_.code_hash, now_.source) == (before.code_hash, before.source)
    (problem,) = workplace.project.left_out
    assert str(problem).startswith(
        "strategies/small_cross.yaml: small_cross@1.0.0 is registered with other code, expected a"
    )
    assert due(workplace) == []


@pytest.mark.parametrize("broken", [".py", ".yaml"])
def test_in_a_scheduled_night_a_bad_file_fails_alone_and_its_registered_version_goes_on(
    root: Path, broken: str
) -> None:
    add(root, "other", "return Signals(enter=bars.close > 0)")
    edit(
        root,
        broken,
        ("small_cross" if broken == ".yaml" else "return", "- broken: [" if broken == ".yaml" else "import os; return"),
    )
    with pytest.raises(ConfigurationError):
        open_workplace()
    workplace = open_unattended()
    assert sorted(workplace.project.strategies) == ["other@1.0.0", STRATEGY]
    (problem,) = workplace.project.left_out
    assert str(problem).startswith(f"strategies/small_cross{broken}:")
    definitions = build(workplace)
    sensor = definitions.get_repository_def().get_sensor_def("changed_market_data")
    context = dg.build_sensor_context(
        instance=instance(),
        instance_ref=instance().get_ref(),
        repository_def=definitions.get_repository_def(),
        sensor_name=sensor.name,
    )
    tick = sensor.evaluate_tick(context)
    assert [request.partition_key for request in tick.run_requests or ()] == ["other@1.0.0"]


def test_files_that_are_gone_take_what_is_in_lab_with_them_and_nothing_else(root: Path, after: Workplace) -> None:
    for suffix in (".py", ".yaml"):
        (root / f"strategies/small_cross{suffix}").unlink()
    assert open_workplace().project.strategies == {}
    ledger = after.ledger.store()
    ledger.append(Draft(kind="promoted", at=now(), by="ada", strategy=STRATEGY, body={"to": "paper"}))
    assert set(open_workplace().project.strategies) == {STRATEGY}
    ledger.append(Draft(kind="retired", at=now(), by="ada", strategy=STRATEGY, body={}))
    assert open_workplace().project.strategies == {}


def test_a_snapshot_that_was_tampered_with_is_none(root: Path, after: Workplace) -> None:
    rows = after.lake.read("snapshots")
    forged = rows.with_columns(
        signal=rows["signal"].str.replace("crossed_above(fast", "crossed_above(slow", literal=True)
    )
    after.lake.replace("snapshots", forged, strategy=STRATEGY)
    bump(root)
    assert set(open_workplace().project.strategies) == {NEWER}


def test_a_version_whose_data_set_is_gone_is_left_out_and_named(root: Path, after: Workplace) -> None:
    bump(root)
    others = {"other": after.project.datasets["crypto_5m"].model_copy(update={"name": "other"})}
    project = with_older_versions(
        after.project._replace(datasets=others, strategies={}), after.lake, after.ledger.store()
    )
    assert project.strategies == {}
    (problem,) = project.left_out
    assert str(problem).startswith("registered/small_cross@1.0.0.yaml:5: dataset is 'crypto_5m'")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return Signals(enter=1 / 0)", "(bad.py:13): ZeroDivisionError"),
        ("return [True] * len(range(100))", "(bad.py:12): signals returned list, must return Signals"),
        ("while True: pass", "bad@1.0.0 (bad.py:13) ran for more than 10 s"),
    ],
)
def test_a_strategy_that_fails_fails_alone_and_is_mended_under_its_own_number(root: Path, body: str, said: str) -> None:
    add(root, "bad", body)
    add(root, "good", "return Signals(enter=bars.close > 0)")
    workplace = open_workplace()
    done: Done = quiet_night(workplace)
    assert [failure.work for failure in done.failed] == ["research bad@1.0.0"]
    assert said in done.failed[0].reason
    assert registered(workplace) == [STRATEGY, "good@1.0.0"]
    assert set(workplace.lake.read("scorecards")["strategy"]) == {STRATEGY, "good@1.0.0"}
    assert "bad@1.0.0" in instance().get_dynamic_partitions(str(STRATEGIES.name))

    add(root, "bad", "return Signals(enter=bars.close > 1)")
    assert quiet_night(open_workplace()).failed == []
    assert registered(workplace) == [STRATEGY, "good@1.0.0", "bad@1.0.0"]


def test_a_ledger_from_before_snapshots_gets_them_with_the_next_night(root: Path, after: Workplace) -> None:
    after.lake.replace("snapshots", after.lake.read("snapshots").clear(), strategy=STRATEGY)
    quiet_night(open_workplace())
    assert after.lake.read("snapshots")["strategy"].to_list() == [STRATEGY]
    assert registered(after) == [STRATEGY]
    assert set(stages(after.ledger.store().entries(), expires_days=7)) == {STRATEGY}


def test_a_copy_of_the_home_elsewhere_is_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bump(root)
    shutil.copytree(root, tmp_path / "moved")
    assert sorted(open_small(tmp_path / "moved", monkeypatch).project.strategies) == [STRATEGY, NEWER]
