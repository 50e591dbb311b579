"""A whole night on a small slice of real bars, through a real Dagster instance, and what is due after it."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from assets import inputs
from assets.inputs_current import CHECK, OTHERWISE
from assets.partitions import AS_OF_TAG
from assets.research import measure
from pipelines import jobs, night
from pipelines.code_location import build
from pipelines.requests import ATTEMPTS, run_requests
from pipelines.run_night import Done
from pipelines.sensors import identity
from pipelines.summary import summary
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from quality.errors import ConfigurationError
from resources.clock import now
from resources.intake import keep, receive
from resources.sources.protocol import Source
from resources.sources.registry import Sources
from tests.small_project import FIRST, LAST, STRATEGY, instance, open_small, quiet_night, restating, write_project

IDS = ("BTCUSD.BITFINEX", "ETHUSD.BITFINEX")
DAY = date(2017, 7, 17)  # inside the second window's out-of-sample, after the first window's


def _due(workplace: Workplace) -> list[night.Work]:
    as_of = night.as_of_now(workplace, at=now())
    return night.due(workplace, as_of)


def _shifted(day: date, instrument: str) -> Callable[[str, pl.DataFrame], pl.DataFrame]:
    """One instrument's bars of one day, one per mille higher."""

    def change(of: str, rows: pl.DataFrame) -> pl.DataFrame:
        if of != instrument:
            return rows
        on_day = pl.col("ts").dt.date() == day
        prices = ("open", "high", "low", "close")
        return rows.with_columns(
            pl.when(on_day).then(pl.col(price) * 1.001).otherwise(price).alias(price) for price in prices
        )

    return change


def test_the_night_goes_from_bars_to_a_decision(after: Workplace) -> None:
    told = summary(after, quiet_night(after))
    (dataset,) = told["datasets"]
    (strategy,) = told["strategies"]
    assert dataset["sessions"] == 21
    assert dataset["rows_accepted"] == dataset["rows_received"] == after.lake.read("bars").height > 12_000
    assert {one["id"] for one in dataset["instruments"]} == {"BTCUSD.BITFINEX", "ETHUSD.BITFINEX"}
    assert strategy["strategy"] == STRATEGY
    assert strategy["stage"] == "lab"
    assert strategy["backtest"]["n_trades"] == after.lake.read("trades", scope="backtest").height > 0
    assert strategy["walk_forward"]["oos_windows_positive"] is not None
    assert {"metric", "value", "bound", "limit", "passed", "why"} == set(strategy["decision"]["verdicts"][0])
    assert not strategy["decision"]["approved"]
    assert told["controls"]["of"] == 1
    assert after.lake.read("windows")["window"].sort().to_list() == ["w001", "w002"]
    assert after.settings.warehouse.exists()


def test_a_second_night_finds_nothing_new_and_says_the_same(after: Workplace) -> None:
    first, second = summary(after, quiet_night(after)), summary(after, quiet_night(after))
    assert second["new"] is False
    assert second["run_ids"] == []
    assert {name: value for name, value in second.items() if name != "seconds"} == {
        name: value for name, value in first.items() if name != "seconds"
    }


def test_what_lies_before_a_start_that_was_moved_is_not_counted(after: Workplace) -> None:
    broken = pl.when(pl.col("session") < DAY).then(0.5).otherwise("value").alias("value")
    record = after.lake.read("sla_record").with_columns(broken, passed=pl.col("session") >= DAY)
    after.lake.replace("sla_record", record, dataset="crypto_5m")
    later = after.project.datasets["crypto_5m"].model_copy(update={"start": DAY})
    moved = after._replace(project=after.project._replace(datasets={"crypto_5m": later}))
    (told,) = summary(moved, Done({"crypto_5m": LAST}, [], [], {}, 0.0))["datasets"]
    inside = pl.col("session").is_between(DAY, LAST)
    assert told["sessions"] == 5
    assert told["rows_received"] == told["rows_accepted"] == after.lake.read("bars").filter(inside).height

    assert {(one["completeness_min"], one["sessions_below_sla"]) for one in told["instruments"]} == {(1.0, 0)}
    measured = measure(
        after.lake,
        moved.project,
        moved.project.strategies[STRATEGY],
        last=LAST,
        returns=np.array([0.01, -0.01, 0.02]),
        trades=after.lake.read("trades"),
        windows=after.lake.read("windows"),
        oos_returns=np.array([0.01, -0.01, 0.02]),
        trial_sharpes=[0.5, 1.0],
        bears={},
        certified=True,
    )
    assert (measured["completeness_min"].value, measured["sla_breaches"].value) == (1.0, 0.0)


def test_after_a_night_one_tick_of_each_sensor_asks_for_nothing(after: Workplace) -> None:
    definitions = build(after)
    repository = definitions.get_repository_def()
    dagster = instance()
    assert len(repository.sensor_defs) == 7
    for sensor in repository.sensor_defs:
        context = dg.build_sensor_context(
            instance=dagster, instance_ref=dagster.get_ref(), repository_def=repository, sensor_name=sensor.name
        )
        tick = sensor.evaluate_tick(context)
        assert tick.run_requests == [], sensor.name
        assert tick.skip_message == "nothing is due", sensor.name
        again = dg.build_sensor_context(
            instance=dagster, instance_ref=dagster.get_ref(), repository_def=repository, cursor=tick.cursor
        )
        assert sensor.evaluate_tick(again).skip_message == "nothing changed since nothing was due", sensor.name


def test_after_a_night_the_schedule_asks_for_nothing(after: Workplace) -> None:
    repository = build(after).get_repository_def()
    schedule = repository.get_schedule_def("crypto_5m_nightly")
    context = dg.build_schedule_context(instance=instance(), repository_def=repository, scheduled_execution_time=now())
    tick = schedule.evaluate_tick(context)
    assert tick.run_requests == []
    assert tick.skip_message == "nothing of crypto_5m is due"


@pytest.mark.slow
def test_after_one_restated_day_exactly_what_depends_on_it_is_due(after: Workplace) -> None:
    dataset = after.project.datasets["crypto_5m"]
    source = restating("one day", _shifted(DAY, "ETHUSD.BITFINEX")).open(dataset)
    before = after.lake.read("digests")
    receive(after.lake, dataset, source, firsts=dict.fromkeys(IDS, DAY), last=DAY, at=now())

    assert [str(work) for work in _due(after)] == [f"market_crypto_5m {DAY}"]
    definitions = build(after)
    _run(definitions, _due(after)[0])

    changed = after.lake.read("digests").join(before, on=["session", "instrument", "digest"], how="anti")
    assert changed.select("session", "instrument").rows() == [(DAY, "ETHUSD.BITFINEX")]
    restated = after.lake.read("restatements")
    assert restated.select("session", "instrument", "kind").unique().rows() == [(DAY, "ETHUSD.BITFINEX", "changed")]
    assert restated.height == 288
    assert (restated["new_close"] / restated["close"] - 1.001).abs().max() < 1e-12
    assert _outdated("backtest") == _outdated("scorecard") == [(STRATEGY, str(DAY), "ETHUSD.BITFINEX")]
    assert _outdated("walk_forward") == [(f"{STRATEGY}|w002", str(DAY), "ETHUSD.BITFINEX")]
    assert _outdated("crypto_5m", "features") == [], "computed anew in the same run"
    # the first window ends on the 12th and does not depend on the 17th; the second does
    assert [str(work) for work in _due(after)] == [
        f"research {STRATEGY}",
        f"walk_forward {STRATEGY}|w002",
        "controls",
    ]
    assert quiet_night(after).failed == []
    assert _due(after) == []
    assert _outdated("backtest") == _outdated("walk_forward") == _outdated("scorecard") == []


@pytest.mark.slow
def test_what_was_judged_otherwise_without_a_receipt_is_told_too(
    after: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendars = after.settings.project / "policies" / "calendars.yaml"
    calendars.write_text(f"{calendars.read_text()}\n24/7: [{{session: {DAY}, closed: true, why: a test}}]\n")
    workplace = open_small(after.settings.project, monkeypatch)
    (work,) = _due(workplace)
    _run(build(workplace), work)
    assert workplace.lake.read("digests", session=DAY).is_empty()
    for asset in ("backtest", "walk_forward", "scorecard"):
        told = _newest_check(asset)
        assert not told.passed
        assert str(told.metadata[OTHERWISE].value).startswith(STRATEGY)
    assert _newest_check("crypto_5m", "features").passed, "computed anew in the same run"
    assert quiet_night(workplace).failed == []
    assert all(_newest_check(asset).passed for asset in ("backtest", "walk_forward", "scorecard"))


def test_what_was_imported_by_hand_does_not_count_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace = open_small(write_project(tmp_path), monkeypatch)
    dataset = workplace.project.datasets["crypto_5m"]
    source = Sources().open(dataset)
    files = [one for each in dataset.instruments for one in source.deliveries(each, first=FIRST, last=LAST)]
    keep(workplace.lake, dataset, files, at=now(), source="files")
    assert [str(work) for work in _due(workplace) if work.asks_source] == [f"market_crypto_5m {FIRST} to {LAST}"]


def test_an_instrument_that_was_taken_out_of_a_data_set_is_read_no_more(
    after: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = after.settings.project / "datasets" / "crypto_5m.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "ETHUSD" not in line))
    workplace = open_small(after.settings.project, monkeypatch)
    kept = workplace.lake.read("bars").group_by("instrument").len().sort("instrument").rows()
    (_, n_bars), _ = kept
    (told,) = summary(workplace, Done({"crypto_5m": LAST}, [], [], {}, 0.0))["datasets"]
    assert told["rows_accepted"] == told["rows_received"] == n_bars
    held = inputs.held(workplace.lake, workplace.project.datasets["crypto_5m"])
    for part in (held.digests, held.receipts):
        assert part["instrument"].unique().to_list() == ["BTCUSD.BITFINEX"]


def _outdated(*key: str) -> list[tuple[object, ...]]:
    """What the newest `inputs_current` of an asset lists."""
    evaluation = _newest_check(*key)
    rows = evaluation.metadata["sessions"].value.records if "sessions" in evaluation.metadata else []
    assert evaluation.passed is (not rows)
    return [tuple(row.data[name] for name in ("partition", "session", "instrument")) for row in rows]


def _newest_check(*key: str) -> dg.AssetCheckEvaluation:
    check = dg.AssetCheckKey(dg.AssetKey(key), CHECK)
    (newest,) = instance().event_log_storage.get_asset_check_execution_history(check, limit=1)
    assert newest.evaluation is not None
    return newest.evaluation


def _run(definitions: dg.Definitions, work: night.Work) -> None:
    (request,) = run_requests([work], instance(), definitions.get_repository_def())
    result = definitions.resolve_job_def(work.job).execute_in_process(
        instance=instance(),
        partition_key=request.partition_key,
        asset_selection=request.asset_selection,
        tags=request.tags,
    )
    assert result.success


@pytest.mark.slow
def test_a_rerun_of_a_day_changes_no_table(after: Workplace) -> None:
    tables = ("receipts", "raw_bars", "bars", "quarantine", "digests", "sla_record", "resampled_bars", "features")
    before = {name: _content(after, name) for name in tables}
    work = night.Work(jobs.market_job("crypto_5m"), (str(DAY),), "by hand", LAST)
    _run(build(after), work)
    for name in tables:
        if name not in ("receipts", "raw_bars"):  # asked again for one day: another receipt, the same bars
            assert _content(after, name).equals(before[name]), name
    assert _content(after, "raw_bars").height == before["raw_bars"].height + 2 * 288
    _run(build(after), work)
    assert _content(after, "receipts").height == before["receipts"].height + 2  # the same again is no new receipt


@pytest.mark.slow
def test_features_are_the_outputs_that_were_named_and_know_their_sessions(after: Workplace) -> None:
    bars = after.lake.read("bars", dataset="crypto_5m", instrument="BTCUSD.BITFINEX").sort("ts")
    found = after.lake.read("features", dataset="crypto_5m", instrument="BTCUSD.BITFINEX").sort("ts")
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    opens = (bars["session"] != bars["session"].shift(1)).fill_null(value=True) & (bars["volume"] > 0)
    assert opens.sum() > 1
    np.testing.assert_allclose(found["vwap"].filter(opens), typical.filter(opens))
    hours = after.lake.read("resampled_bars", instrument="BTCUSD.BITFINEX", timeframe="1h").sort("ts")["close"]
    upper = hours[-2:].mean() + 2 * hours[-2:].std(ddof=0)  # the last five minutes close with their hour
    assert found["upper_1h"][-1] == pytest.approx(upper)


def _content(workplace: Workplace, name: str) -> pl.DataFrame:
    rows = workplace.lake.read(name)
    drop = [column for column in ("sequence",) if column in rows.columns and name == "bars"]
    rows = rows.drop(drop)
    return rows.sort([column for column in rows.columns if rows.schema[column] != pl.List(pl.String)])


@pytest.mark.slow
def test_a_night_up_to_an_earlier_session_looks_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace = open_small(write_project(tmp_path), monkeypatch)
    early = date(2017, 7, 13)
    first = quiet_night(workplace, no_later_than=early)
    assert first.as_of == {"crypto_5m": early}
    assert workplace.lake.read("bars")["session"].max() == early
    assert workplace.lake.read("windows")["window"].to_list() == ["w001"]
    w001 = workplace.lake.read("windows")
    told_early = _of_the_strategies(workplace, first)

    second = quiet_night(workplace)
    assert second.failed == []
    assert workplace.lake.read("receipts")["first_session"].unique().sort().to_list() == [FIRST, date(2017, 7, 14)]
    assert workplace.lake.read("windows").filter(pl.col("window") == "w001").equals(w001)
    assert workplace.lake.read("windows").height == 2
    told = _of_the_strategies(workplace, second)

    again = quiet_night(workplace, no_later_than=early)
    assert _of_the_strategies(workplace, again) == told_early, "what came later is not looked at"
    assert summary(workplace, again)["datasets"][0]["rows_received"] == 13 * 288 * 2
    assert _of_the_strategies(workplace, quiet_night(workplace)) == told, "what was looked at before leaves no trace"


def _of_the_strategies(workplace: Workplace, done: Done) -> list[dict[str, object]]:
    strategies = summary(workplace, done)["strategies"]
    for one in strategies:
        seen = {verdict["metric"]: verdict["value"] for verdict in one["decision"].pop("verdicts")}
        assert seen["n_trades"] == one["backtest"]["n_trades"], "the decision is on what is shown beside it"
        assert seen["oos_sharpe"] == one["walk_forward"]["oos_sharpe"]
        del one["decision"]
    return strategies


@pytest.mark.slow
def test_corporate_actions_that_could_not_be_had_are_asked_for_again_before_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable(Sources):
        def open(self, dataset: Dataset) -> Source:
            source = restating("as it is", lambda _, rows: rows).open(dataset)
            monkeypatch.setattr(source, "corporate_actions", _unreachable)
            return source

    workplace = open_small(write_project(tmp_path), monkeypatch)
    done = quiet_night(workplace._replace(sources=Unreachable()))
    assert {failure.reason for failure in done.failed} == {"ConnectionError: the vendor does not answer"}
    assert workplace.lake.read("features").is_empty()
    assert workplace.lake.read("equity").is_empty()
    done = quiet_night(workplace)
    assert done.failed == []
    assert workplace.lake.read("features").height == workplace.lake.read("bars").height


def _unreachable(_: object) -> pl.DataFrame:
    message = "the vendor does not answer"
    raise ConnectionError(message)


@pytest.mark.slow
def test_a_newest_session_that_fails_for_too_many_instruments_stops_what_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def five_bars_short(_: str, rows: pl.DataFrame) -> pl.DataFrame:
        bad = date(2017, 7, 13)
        short = (pl.col("ts").dt.date() == bad) & (pl.col("ts").dt.hour() == 3) & (pl.col("ts").dt.minute() < 25)
        return rows.filter(~short)

    workplace = open_small(write_project(tmp_path), monkeypatch)._replace(sources=restating("short", five_bars_short))
    done = quiet_night(workplace, no_later_than=date(2017, 7, 13))
    told = summary(workplace, done)
    assert told["datasets"][0]["blocked"] is True
    assert [one["embargoed"] for one in told["datasets"][0]["instruments"]] == [True, True]
    (failure,) = done.failed
    assert failure.reason == "1 blocking asset check failed with ERROR severity:\ncrypto_5m/bars: completeness"
    assert workplace.lake.read("resampled_bars").is_empty()
    assert workplace.lake.read("equity").is_empty()
    as_of = {"crypto_5m": date(2017, 7, 13)}
    assert night.due(workplace, as_of) == [], "asking again would block again"

    done = quiet_night(workplace)  # a later session passes: the blocked days are made up for
    assert done.failed == []
    assert workplace.lake.read("resampled_bars")["session"].n_unique() == 21
    assert workplace.lake.read("features").height == workplace.lake.read("bars").height
    assert workplace.lake.read("equity", scope="backtest").height == 21


@pytest.mark.slow
def test_a_registered_version_that_changed_is_refused_until_it_is_bumped(
    after: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = after.settings.project / "strategies" / "small_cross.py"
    signal.write_text(signal.read_text().replace("enter=crossed_above", "enter_short=crossed_above"))
    changed = open_small(after.settings.project, monkeypatch)
    with pytest.raises(
        ConfigurationError, match=r"small_cross@1\.0\.0 is registered with other code, expected a new version"
    ):
        quiet_night(changed)

    configuration = signal.with_suffix(".yaml")
    configuration.write_text(configuration.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    bumped = open_small(after.settings.project, monkeypatch)
    assert quiet_night(bumped).failed == []
    stages = [entry.strategy for entry in bumped.ledger.store().entries() if entry.kind == "registered"]
    assert stages == ["small_cross@1.0.0", "small_cross@1.0.1"]
    trials = bumped.lake.read("trials")
    assert trials.height == 4, "two parameter sets of two codes, in one family"
    assert trials["family"].unique().to_list() == ["small_cross"]


def test_a_comment_changes_no_version(after: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = after.settings.project / "strategies" / "small_cross.py"
    signal.write_text(signal.read_text().replace("class SmallCross", "# said better\n\n\nclass SmallCross"))
    assert quiet_night(open_small(after.settings.project, monkeypatch)).run_ids == []


@pytest.mark.slow
def test_a_strategy_that_raises_fails_alone_and_is_told(after: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = after.settings.project / "strategies"
    broken = (
        (folder / "small_cross.py")
        .read_text()
        .replace("SmallCross", "Broken")
        .replace("        return", "        1 / 0\n        return")
    )
    (folder / "broken.py").write_text(broken)
    (folder / "broken.yaml").write_text((folder / "small_cross.yaml").read_text().replace("small_cross", "broken"))
    workplace = open_small(after.settings.project, monkeypatch)
    done = quiet_night(workplace)
    assert {failure.work.split()[1].split("@")[0] for failure in done.failed} == {"broken"}
    assert "broken.py:14" in done.failed[0].reason
    assert "ZeroDivisionError" in done.failed[0].reason
    (told,) = (one for one in summary(workplace, done)["strategies"] if one["strategy"] == STRATEGY)
    assert told["decision"] is not None
    shown = inputs.recorded(workplace.lake, "warehouse")
    assert shown == {inputs.ALL: inputs.warehouse(workplace.lake)}, "the warehouse does not wait for it"


def test_a_failed_piece_is_tried_again_once_and_then_waits(after: Workplace) -> None:
    work = night.Work(jobs.RESEARCH, (STRATEGY,), "sha256:x", LAST)
    dagster = instance()
    repository = build(after).get_repository_def()
    keys = []
    for attempt in range(ATTEMPTS):
        (request,) = run_requests([work], dagster, repository)
        keys.append(request.run_key)
        dagster.add_run(
            dg.DagsterRun(
                job_name=work.job, run_id=dg_run_id(attempt), tags=work.tags, status=dg.DagsterRunStatus.FAILURE
            )
        )
    assert len(set(keys)) == ATTEMPTS
    assert run_requests([work], dagster, repository) == []


def dg_run_id(attempt: int) -> str:
    return f"00000000-0000-0000-0000-{attempt:012d}"


def test_runs_say_how_far_they_look(after: Workplace) -> None:
    runs = instance().get_runs()
    assert {run.tags[AS_OF_TAG] for run in runs} == {str(LAST)}
    assert {run.job_name for run in runs} == {
        "market_crypto_5m", "research", "walk_forward", "scorecards", "controls", "review_promotions", "maintenance",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("policies/costs.yaml", "taker_bps: 20", "taker_bps: 21"),
        ("policies/sla.yaml", "min_share: 0.5", "min_share: 0.6"),
        ("policies/calendars.yaml", "schema: 1", "schema: 1\n24/7: [{session: 2017-07-04, closed: true, why: a test}]"),
        ("datasets/crypto_5m.yaml", "lot: 0.0001", "lot: 0.001"),
        ("datasets/crypto_5m.yaml", "sma_12: {indicator: sma, length: 12}", "sma_24: {indicator: sma, length: 24}"),
        ("strategies/small_cross.yaml", "share: 0.5", "share: 0.4"),
        ("strategies/small_cross.py", "enter=crossed_above(fast, slow)", "enter=crossed_above(slow, fast)"),
    ],
)
def test_whatever_changes_a_result_changes_what_it_is_remembered_by(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str
) -> None:
    def remembered(workplace: Workplace) -> str:
        return inputs.research(workplace.project, workplace.project.strategies[STRATEGY], workplace.lake, last=LAST)

    before = remembered(after)
    path = after.settings.project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    changed = open_small(after.settings.project, monkeypatch)
    assert remembered(changed) != before
    assert identity(changed.project) != identity(after.project), "sensors look again"


def test_work_that_went_back_to_what_it_was_is_asked_for_again(after: Workplace) -> None:
    work = night.Work(jobs.RESEARCH, (STRATEGY,), "sha256:before", LAST)
    repository, dagster = build(after).get_repository_def(), instance()
    (first,) = run_requests([work], dagster, repository)
    dagster.add_run(
        dg.DagsterRun(job_name=work.job, run_id=dg_run_id(9), tags=work.tags, status=dg.DagsterRunStatus.SUCCESS)
    )
    (again,) = run_requests([work], dagster, repository)
    assert again.run_key != first.run_key


@pytest.mark.slow
def test_a_data_set_without_volume_stores_none(after: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = after.settings.project / "datasets" / "crypto_5m.yaml"
    path.write_text(path.read_text().replace("volume: traded", "volume: none"))
    workplace = open_small(after.settings.project, monkeypatch)
    (work,) = _due(workplace)
    _run(build(workplace), work)
    bars = workplace.lake.read("bars")
    assert bars["volume"].null_count() == bars.height == after.lake.read("raw_bars")["volume"].count()
