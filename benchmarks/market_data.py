"""Market data at scale: 100 instruments, four years of five-minute bars, through Dagster.

The bars are random walks made once and handed on under 100 names, each at a price of its own, so
that what is timed is the pipeline and not the making of its input. The lake is kept in
`.benchmarks/`; a benchmark that needs it makes it where it is missing or was made by other code.

`pipeline_42m` runs the whole market job over 1,461 partitions. Its seconds are those of the work:
from the start of each step to its first recorded materialization. What Dagster then takes to
record a materialization per asset and day stands in the note.
"""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import median

import dagster as dg
import numpy as np
import polars as pl

from benchmarks.run import Measured
from pipelines import jobs, night
from pipelines.code_location import build
from pipelines.progress import QUIET
from pipelines.requests import assets_of
from pipelines.workplace import Workplace, open_workplace
from quality.datasets import Dataset
from resources.clock import now
from resources.market import calendar_of, raw_bars
from resources.settings import numbers_hash
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument, Source
from resources.sources.registry import Sources

CHECKOUT = Path(__file__).parents[1]
ROOT = CHECKOUT / ".benchmarks" / "market_data"
N_INSTRUMENTS = 100
FIRST, LAST = date(2020, 1, 1), date(2023, 12, 31)
OLD_DAY = date(2022, 6, 15)
BARS_A_DAY = 288
WALKS = 4
NIGHTS = 40  # after the four years
NAME = "bench_5m"
FEATURES = """\
features:
  sma_20: {indicator: sma, length: 20}
  sma_100: {indicator: sma, length: 100}
  ema_20: {indicator: ema, length: 20}
  ema_50: {indicator: ema, length: 50}
  rsi_14: {indicator: rsi, length: 14}
  rsi_28: {indicator: rsi, length: 28}
  atr_14: {indicator: atr, length: 14}
  atr_14_1h: {indicator: atr, length: 14, timeframe: 1h}
  rsi_14_4h: {indicator: rsi, length: 14, timeframe: 4h}
  sma_20_1d: {indicator: sma, length: 20, timeframe: 1d}
"""


class WalkSource:
    """Random walks; `restated` days come a tenth of a percent higher."""

    def __init__(self, restated: date | None) -> None:
        self._restated = restated

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        n = int(instrument.id[1:4])
        start, end = ((day - FIRST).days * BARS_A_DAY for day in (first, last + timedelta(days=1)))
        price = 1.0 + n / 10 if self._restated is None else (1.0 + n / 10) * 1.001
        rows = _walk(n % WALKS)[start:end].with_columns(pl.col("open", "high", "low", "close") * price)
        yield Delivery(instrument.id, rows.with_columns(pl.col("line") - start), f"walk/{instrument.id}", first, last)

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:  # noqa: ARG002 - none of any
        return ACTIONS.to_frame()

    def last_session(self) -> date | None:
        return None

    def settle(self) -> None:
        pass


class WalkSources(Sources):
    restated: str = ""

    def open(self, dataset: Dataset) -> Source:  # noqa: ARG002 - one for all
        return WalkSource(date.fromisoformat(self.restated) if self.restated else None)


@cache
def _walk(seed: int) -> pl.DataFrame:
    """Four years and some nights of bars at prices of about a hundred, to a hundredth."""
    n = ((LAST - FIRST).days + 1 + NIGHTS) * BARS_A_DAY
    random = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(random.normal(0, 1e-3, n))), 2)
    opens = np.concatenate([closes[:1], closes[:-1]])
    begin = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    return pl.DataFrame(
        {
            "line": np.arange(n),
            "ts": pl.datetime_range(
                begin, begin + timedelta(minutes=5 * (n - 1)), interval="5m", time_unit="us", eager=True
            ),
            "open": opens,
            "high": np.maximum(opens, closes) + 0.01,
            "low": np.minimum(opens, closes) - 0.01,
            "close": closes,
            "volume": np.round(random.exponential(10, n), 3),
        },
        schema=RECEIVED,
    )


def pipeline_42m() -> Measured:
    shutil.rmtree(ROOT, ignore_errors=True)
    return _filled()


def night_100() -> Measured:
    _prepared()
    _write_project(last=_newest_asked(_open()) + timedelta(days=1))
    workplace = _open()
    definitions = build(workplace)
    started = time.perf_counter()
    as_of = night.as_of_now(workplace, at=now())
    due = night.due(workplace, as_of)
    (ask,) = (work for work in due if work.job == jobs.market_job(NAME))
    result = _execute(definitions, ask)
    left = night.due(workplace, as_of)
    seconds = time.perf_counter() - started
    assert not any(work.job == ask.job for work in left), [work.only for work in left]
    counts = _rows(result)
    return Measured(seconds, note=f"{counts['bars']:,} bars of one session, planner before and after included")


def reingest_day_100() -> Measured:
    _prepared()
    workplace = _open()._replace(sources=WalkSources(restated=str(OLD_DAY)))
    work = night.Work(jobs.market_job(NAME), (str(OLD_DAY),), "benchmark", LAST, ("raw_bars", "bars", "resampled_bars"))
    definitions = build(workplace)
    started = time.perf_counter()
    result = _execute(definitions, work)
    seconds = time.perf_counter() - started
    restated = workplace.lake.read("restatements", dataset=NAME).height
    assert restated == N_INSTRUMENTS * BARS_A_DAY, restated
    (ROOT / "made_by").unlink()  # the features after that day were not made again: the next benchmark starts anew
    counts = _rows(result)
    return Measured(seconds, note=f"{counts['bars']:,} bars: asked, judged, replaced, restatements, resampled")


def read_instrument() -> Measured:
    _prepared()
    workplace = _open()
    dataset = workplace.project.datasets[NAME]
    calendar = calendar_of(workplace.project, dataset)
    took, floors = [], []
    for instrument in ("I041.BENCH", "I042.BENCH", "I043.BENCH", "I044.BENCH"):
        started = time.perf_counter()
        bars = raw_bars(workplace.lake, dataset, calendar, instrument=instrument, timeframes=["5m"], last=LAST)["5m"]
        took.append(time.perf_counter() - started)
        (folder,) = workplace.lake.path("bars").glob(f"dataset={NAME}/instrument={instrument}")
        started = time.perf_counter()
        rows = pl.read_parquet(folder)
        floors.append(time.perf_counter() - started)
        assert rows.height >= bars.height == ((LAST - FIRST).days + 1) * BARS_A_DAY
    note = f"{bars.height:,} bars with when each was known, the median of three after a first; floor: the bare Parquet files"
    return Measured(median(took[1:]), median(floors[1:]), note)


def _prepared() -> None:
    made_by = ROOT / "made_by"
    if not made_by.exists() or made_by.read_text() != numbers_hash():
        shutil.rmtree(ROOT, ignore_errors=True)
        _filled()
    _write_project(last=LAST)


def _newest_asked(workplace: Workplace) -> date:
    newest: date = workplace.lake.read("receipts", dataset=NAME)["last_session"].max()  # type: ignore[assignment]
    return newest


def _filled() -> Measured:
    _write_project(last=LAST)
    workplace = _open()
    as_of = night.as_of_now(workplace, at=now())
    due = night.due(workplace, as_of)
    (ask,) = (work for work in due if work.job == jobs.market_job(NAME))
    for seed in range(WALKS):
        _walk(seed)
    definitions = build(workplace)
    started = time.perf_counter()
    result = _execute(definitions, ask)
    total = time.perf_counter() - started
    work, recording = _split(result)
    (ROOT / "made_by").write_text(numbers_hash())
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in work.items())
    note = f"{_rows(result)['bars']:,} bars; {steps}; Dagster's recording {sum(recording.values()):.0f} s, all {total:.0f} s"
    return Measured(sum(work.values()), note=note)


def _execute(definitions: dg.Definitions, work: night.Work) -> dg.ExecuteInProcessResult:
    result = definitions.resolve_job_def(work.job).execute_in_process(
        instance=dg.DagsterInstance.get(),
        partition_key=work.partitions[0] if len(work.partitions) == 1 else None,
        asset_selection=assets_of(work, definitions.get_repository_def()),
        tags={**work.tags, **work.partition_tags},
        run_config=QUIET,
    )
    assert result.success
    return result


def _split(result: dg.ExecuteInProcessResult) -> tuple[dict[str, float], dict[str, float]]:
    """By step, the seconds until its first materialization of its own asset and those after it."""
    entries = dg.DagsterInstance.get().all_logs(result.run_id)
    times: dict[str, dict[str, float]] = defaultdict(dict)
    for entry in entries:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            continue
        name = event.event_type_value
        if name == "ASSET_MATERIALIZATION" and event.asset_key and "__".join(event.asset_key.path) != event.step_key:
            continue  # a by-product, reported on the way
        times[event.step_key].setdefault(name, entry.timestamp)
    work, recording = {}, {}
    for step, seen in times.items():
        if "STEP_SUCCESS" not in seen:
            continue
        recorded = seen.get("ASSET_MATERIALIZATION", seen["STEP_SUCCESS"])
        name = step.removeprefix(f"{NAME}__")
        work[name] = recorded - seen["STEP_START"]
        recording[name] = seen["STEP_SUCCESS"] - recorded
    return work, recording


def _rows(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    rows = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if "rows" in materialization.metadata:
            rows[materialization.asset_key.path[-1]] = int(str(materialization.metadata["rows"].value))
    return rows


def _write_project(*, last: date) -> None:
    (ROOT / "datasets").mkdir(parents=True, exist_ok=True)
    (ROOT / "strategies").mkdir(exist_ok=True)
    shutil.copytree(CHECKOUT / "policies", ROOT / "policies", dirs_exist_ok=True)
    terms = "quote: USD, settle: USD, tick: 0.01, lot: 0.001, min_notional: 10, tier: core"
    instruments = "\n".join(f"  - {{id: I{n:03d}.BENCH, symbol: i{n}, {terms}}}" for n in range(N_INSTRUMENTS))
    (ROOT / "datasets" / f"{NAME}.yaml").write_text(
        f"schema: 1\nname: {NAME}\nsource: {{kind: synthetic, seed: 1}}\ncalendar: 24/7\nvolume: traded\ntimeframe: 5m\n"
        f"resample: [15m, 1h, 4h, 1d]\nstart: {FIRST}\nend: {last}\nsla: crypto\ninstruments:\n{instruments}\n{FEATURES}"
    )


def _open() -> Workplace:
    os.environ["GAUNTLET_PROJECT"] = str(ROOT)
    os.environ["GAUNTLET_HOME"] = str(ROOT / "home")
    return open_workplace()._replace(sources=WalkSources())
