"""A backfill: exactly the sessions named are asked for again, and it is said what that changed."""

import json
import shutil
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.backfill import Backfilled, backfill
from pipelines.cli.main import main
from pipelines.workplace import Workplace
from quality import tables
from resources.errors import NobodyToAskError, OutsideDatasetError, UnknownDatasetError
from tests.small_project import CHECKOUT, FIRST, LAST, STRATEGY, instance, open_small, restating, write_project

pytestmark = pytest.mark.slow

DAY = date(2017, 7, 17)
BTC, ETH = "BTCUSD.BITFINEX", "ETHUSD.BITFINEX"
DERIVED = ("bars", "quarantine", "digests", "sla_record", "resampled_bars", "features")


def run(workplace: Workplace, first: date, last: date, *, name: str = "crypto_5m", derive: bool = False) -> Backfilled:
    return backfill(workplace, name, first=first, last=last, derive=derive, wait=False, say=lambda _: None)


def raised(instrument: str, *days: date) -> Callable[[str, pl.DataFrame], pl.DataFrame]:
    """The bars of some days one per mille higher."""

    def change(of: str, rows: pl.DataFrame) -> pl.DataFrame:
        wanted = pl.col("ts").dt.date().is_in(days) & pl.lit(of == instrument)
        prices = ("open", "high", "low", "close")
        return rows.with_columns(
            pl.when(wanted).then(pl.col(name) * 1.001).otherwise(name).alias(name) for name in prices
        )

    return change


def receipts(workplace: Workplace, *, after: int) -> list[tuple[str, date, date]]:
    rows = workplace.lake.read("receipts", dataset="crypto_5m").filter(pl.col("sequence") > after).sort("sequence")
    return rows.select("instrument", "first_session", "last_session").rows()


def newest_receipt(workplace: Workplace) -> int:
    return int(workplace.lake.read("receipts")["sequence"].max())  # type: ignore[arg-type]


def held(workplace: Workplace) -> dict[str, pl.DataFrame]:
    return {name: workplace.lake.read(name).sort(tables.table(name).key) for name in DERIVED}


def test_a_source_that_says_the_same_changes_nothing_and_makes_no_research_due(after: Workplace) -> None:
    before, newest = held(after), newest_receipt(after)
    done = run(after, DAY, DAY + timedelta(days=1))
    assert done.failed == []
    assert (done.sessions, done.rows, done.restated) == (2, 2 * 2 * 288, {})
    assert [work.job for work in done.due] == ["maintenance"], "tables were written, so the warehouse is rebuilt"
    assert {(first, last) for _, first, last in receipts(after, after=newest)} <= {(DAY, DAY + timedelta(days=1))}
    for name, rows in held(after).items():
        assert_frame_equal(rows, before[name])


def test_what_a_source_changed_is_told_by_instrument_and_session_with_what_is_due(after: Workplace) -> None:
    newest = newest_receipt(after)
    done = run(after._replace(sources=restating("backfill", raised(ETH, DAY))), DAY, LAST)
    assert done.failed == []
    assert done.restated == {ETH: [DAY]}
    assert (ETH, DAY, LAST) in receipts(after, after=newest)
    assert f"research {STRATEGY}" in [str(work) for work in done.due]
    kinds = after.lake.read("restatements", instrument=ETH)["kind"].unique().to_list()
    assert kinds == ["changed"]


def test_deriving_leaves_the_source_in_peace_and_makes_again_what_was_lost(after: Workplace) -> None:
    before, newest = held(after), newest_receipt(after)
    for name in DERIVED:
        after.lake.replace(name, tables.empty(name), dataset="crypto_5m", session=DAY)
    done = run(after._replace(sources=restating("unasked", raised(ETH, DAY))), DAY, DAY, derive=True)
    assert done.failed == []
    assert (done.rows, done.new_rows, receipts(after, after=newest)) == (0, 0, [])
    for name, rows in held(after).items():
        assert_frame_equal(rows, before[name])


def test_what_was_never_asked_for_comes_first_then_all_of_the_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = open_small(write_project(tmp_path), monkeypatch)
    early, middle = FIRST + timedelta(days=1), FIRST + timedelta(days=3)
    assert run(small, early, middle).failed == []
    assert receipts(small, after=0) == [(BTC, early, middle), (ETH, early, middle)], "one run, asked once"
    changed = small._replace(sources=restating("wider", raised(BTC, middle)))
    newest, late = newest_receipt(small), middle + timedelta(days=2)
    done = run(changed, early, late)
    assert done.failed == []
    assert len(done.run_ids) == 2
    never = middle + timedelta(days=1)
    told = receipts(small, after=newest)
    assert told[:2] == [(BTC, never, late), (ETH, never, late)]
    assert (BTC, early, late) in told[2:]
    assert done.restated == {BTC: [middle]}


def test_daily_bars_are_asked_for_by_whole_months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_project(tmp_path)
    shutil.copy(CHECKOUT / "datasets" / "us_equities_1d.yaml", root / "datasets")
    daily = open_small(root, monkeypatch)
    done = run(daily, date(2015, 2, 10), date(2015, 3, 5), name="us_equities_1d")
    assert done.failed == []
    assert (done.days.first, done.days.last) == (date(2015, 2, 1), date(2015, 3, 31))
    assert done.sessions == 19 + 22, "NYSE sessions of February and March 2015"
    assert len(done.run_ids) == 1
    sessions = daily.lake.read("bars", dataset="us_equities_1d")["session"]
    assert (sessions.min(), sessions.max()) == (date(2015, 2, 2), date(2015, 3, 31))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(FIRST - timedelta(days=1), LAST, id="before its start"),
        pytest.param(FIRST, LAST + timedelta(days=1), id="after its end"),
        pytest.param(LAST, FIRST, id="the wrong way round"),
    ],
)
def test_days_that_a_data_set_has_not_are_refused_with_those_it_has(after: Workplace, first: date, last: date) -> None:
    newest = newest_receipt(after)
    with pytest.raises(
        OutsideDatasetError, match=f"crypto_5m has sessions from {FIRST} to {LAST}, got {first} to {last}"
    ):
        run(after, first, last)
    assert newest_receipt(after) == newest


def test_days_without_a_session_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_project(tmp_path)
    shutil.copy(CHECKOUT / "datasets" / "us_equities_1d.yaml", root / "datasets")
    daily = open_small(root, monkeypatch)
    with pytest.raises(OutsideDatasetError, match="got 2015-02-07 to 2015-02-08"):
        run(daily, date(2015, 2, 7), date(2015, 2, 8), name="us_equities_1d")


def test_what_a_killed_run_held_of_a_pool_is_given_back(after: Workplace) -> None:
    dagster = instance()
    storage = dagster.event_log_storage
    storage.initialize_concurrency_limit_to_default("source_crypto_5m")
    assert storage.claim_concurrency_slot("source_crypto_5m", "a run that was killed", "raw_bars").is_claimed
    assert run(after, DAY, DAY).failed == [], "it would wait for ever"
    assert storage.get_concurrency_info("source_crypto_5m").claimed_slots == []


def test_a_name_that_is_no_data_set_is_refused_with_the_nearest(after: Workplace) -> None:
    with pytest.raises(UnknownDatasetError, match="did you mean 'crypto_5m'"):
        run(after, DAY, DAY, name="crypto_5")


def test_nobody_can_be_asked_for_files_again(after: Workplace) -> None:
    crypto = after.project.datasets["crypto_5m"]
    source = crypto.source.model_copy(update={"kind": "files"})
    files = after.project._replace(datasets={"crypto_5m": crypto.model_copy(update={"source": source})})
    with pytest.raises(NobodyToAskError, match="judge what is held anew with --derive"):
        run(after._replace(project=files), DAY, DAY)


def test_the_command_tells_it_in_sentences_and_as_json(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert after.settings.home.exists()
    words = ["gauntlet", "backfill", "crypto_5m", "--from", str(DAY), "--to", str(DAY)]
    assert _ended(monkeypatch, *words) == 0
    told = capsys.readouterr().out
    assert f"crypto_5m from {DAY} to {DAY}: 1 sessions, 576 rows received" in told
    assert "no session that was held before has changed" in told
    assert _ended(monkeypatch, *words, "--derive", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {
        *("dataset", "from", "to", "sessions", "rows_received", "new_rows", "restated", "due", "failed"),
        *("seconds", "run_ids"),
    }
    assert (document["sessions"], document["new_rows"], document["restated"]) == (1, 0, {})
    assert _ended(monkeypatch, "gauntlet", "backfill", "crypto_5m", "--from", "2016-01-01", "--to", str(DAY)) == 2
    refused = capsys.readouterr().err
    assert "crypto_5m has sessions from 2017-07-01 to 2017-07-21" in refused
    assert "Traceback" not in refused


def _ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
