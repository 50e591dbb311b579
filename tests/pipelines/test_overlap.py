"""The last sessions are asked for again with every new one: what came late or was corrected is found the next night."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines import jobs, night
from pipelines.run_night import Done
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from resources.sources.protocol import Source
from resources.sources.registry import Sources, open_source
from tests.small_project import CHECKOUT, instance, open_small, quiet_night

DATASET = """\
schema: 1
name: made
source: {{kind: synthetic, seed: 3, overlap_sessions: {overlap}, defects: {{{defects}}}}}
calendar: 24/7
volume: traded
timeframe: 1h
resample: [1d]
start: 2024-03-01
sla: crypto
instruments:
  - {{id: ONE.MADE, symbol: one, quote: USD, settle: USD, tick: 0.1, lot: 0.1, min_notional: 0, tier: core}}
  - {{id: OTHER.MADE, symbol: other, quote: USD, settle: USD, tick: 0.1, lot: 0.1, min_notional: 0, tier: core}}
features: {{}}
"""
FIRST_NIGHT = date(2024, 3, 5)
DAY = timedelta(days=1)


class SourcesOfThatNight(Sources):
    """Sources on whose clock it is half past midnight after the session `newest`."""

    newest: str

    def open(self, dataset: Dataset) -> Source:
        after = datetime.fromisoformat(self.newest).replace(tzinfo=UTC) + DAY + timedelta(minutes=30)
        return open_source(dataset, clock=lambda: after)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workplace]:
    def opened(*, overlap: int = 2, defects: str = "") -> Workplace:
        shutil.copytree(CHECKOUT / "policies", tmp_path / "policies")
        sla = tmp_path / "policies" / "sla.yaml"
        sla.write_text(sla.read_text().replace("at_least: 0.99, severity: enforce", "at_least: 0.99, severity: warn"))
        (tmp_path / "strategies").mkdir()
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "made.yaml").write_text(DATASET.format(overlap=overlap, defects=defects))
        return open_small(tmp_path, monkeypatch)

    return opened


def on(workplace: Workplace, newest: date) -> Workplace:
    return workplace._replace(sources=SourcesOfThatNight(newest=str(newest)))


def night_of(workplace: Workplace, newest: date) -> Done:
    done = quiet_night(on(workplace, newest), no_later_than=newest)
    assert done.failed == []
    assert night.due(on(workplace, newest), {"made": newest}) == []
    return done


def market_runs(done: Done) -> list[str]:
    """The partitions of the night's market runs, in order."""
    runs = [instance().get_run_by_id(run_id) for run_id in done.run_ids]
    market = [run.tags for run in runs if run is not None and run.job_name == jobs.market_job("made")]
    start = "dagster/asset_partition_range_start"
    return [tags.get("dagster/partition", f"{tags.get(start)} to …") for tags in market]


@pytest.mark.slow
def test_what_is_late_or_restated_is_found_by_the_next_night_and_judged_once(made: Callable[..., Workplace]) -> None:
    workplace = made(overlap=1, defects="late: 0.1, restated: 0.1")
    night_of(workplace, FIRST_NIGHT)
    lacking = workplace.lake.read("bars", session=FIRST_NIGHT)
    assert 0 < lacking.height < 48
    assert workplace.lake.read("gaps", session=FIRST_NIGHT)["n_bars"].sum() == 48 - lacking.height

    second = night_of(workplace, FIRST_NIGHT + DAY)
    assert market_runs(second) == [str(FIRST_NIGHT + DAY), str(FIRST_NIGHT)], "the new one, then the one that changed"
    whole = workplace.lake.read("bars", session=FIRST_NIGHT)
    assert whole.height == 48
    assert workplace.lake.read("gaps", session=FIRST_NIGHT).is_empty()
    restated = workplace.lake.read("restatements")
    assert restated.select("session", "kind").unique().rows() == [(FIRST_NIGHT, "changed")]
    assert restated.height > 0
    assert workplace.lake.read("receipts").filter(pl.col("first_session") == FIRST_NIGHT).height == 2
    assert workplace.lake.read("resampled_bars", session=FIRST_NIGHT)["n_base"].to_list() == [24, 24]


@pytest.mark.slow
def test_where_nothing_changed_a_night_judges_the_new_session_and_no_other(made: Callable[..., Workplace]) -> None:
    workplace = made(overlap=2)
    night_of(workplace, FIRST_NIGHT)
    for newest in (FIRST_NIGHT + DAY, FIRST_NIGHT + 2 * DAY):
        assert market_runs(night_of(workplace, newest)) == [str(newest)]
    receipts = workplace.lake.read("receipts", instrument="ONE.MADE").sort("sequence")
    assert receipts["first_session"].to_list() == [date(2024, 3, 1), FIRST_NIGHT + DAY, FIRST_NIGHT + 2 * DAY]
    assert workplace.lake.read("restatements").is_empty()
