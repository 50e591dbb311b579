"""A wrong import is taken back: after the next night all is as if it had never come."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets import inputs_current
from pipelines import night
from pipelines.cli.main import main
from pipelines.retract import retract
from pipelines.workplace import Workplace
from quality import tables
from resources import lock
from resources.clock import now
from resources.errors import NoReasonError, RetractedBeforeError, UnknownReceiptError
from resources.intake import keep
from resources.lake import Lake
from resources.sources.protocol import Delivery
from tests.small_project import CHECKOUT, FIRST, STRATEGY, open_small, quiet_night, write_project

pytestmark = pytest.mark.slow

BTC = "BTCUSD.BITFINEX"
START = date(2024, 3, 1)
DAY = timedelta(days=1)
HEADER = "date,open,high,low,close,volume"
MADE = ("bars", "quarantine", "gaps", "restatements", "digests", "sla_record", "resampled_bars", "features", "universe")
DATASET = """\
schema: 1
name: dropped
source: {kind: files}
calendar: 24/7
volume: traded
timeframe: 1h
resample: [1d]
start: 2024-03-01
sla: crypto
universes: [liquid_crypto]
instruments:
  - {id: ONE.MADE, symbol: one, quote: USD, settle: USD, tick: 0.1, lot: 0.1, min_notional: 0, tier: core}
  - {id: OTHER.MADE, symbol: other, quote: USD, settle: USD, tick: 0.1, lot: 0.1, min_notional: 0, tier: core}
features:
  sma_3: {indicator: sma, length: 3}
"""


def of_files(root: Path, patch: pytest.MonkeyPatch) -> Workplace:
    """A project with one data set made of files."""
    for folder in ("strategies", "datasets"):
        (root / folder).mkdir(parents=True)
    (root / "policies").symlink_to(CHECKOUT / "policies")
    (root / "datasets" / "dropped.yaml").write_text(DATASET)
    return open_small(root, patch)


@pytest.fixture(scope="module")
def never(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """What is made of the right files alone."""
    with pytest.MonkeyPatch.context() as patch:
        workplace = of_files(tmp_path_factory.mktemp("never"), patch)
        for instrument in ("OTHER.MADE", "ONE.MADE"):
            bring(patch, workplace, right(instrument), to=instrument)
        calm_night(workplace)
    found = made(workplace.lake)
    assert all(found[name].height for name in ("bars", "gaps", "digests", "features", "universe"))
    return found


@pytest.fixture
def mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return of_files(tmp_path / "mended", monkeypatch)


def bars(days: int, *, price: float, skipped: int = 0, begin: date = START, minutes: int = 60) -> str:
    """Bars from the day `begin` on, but for those of as many hours as are `skipped` in the morning of each day."""
    first, step = datetime.combine(begin, datetime.min.time(), UTC), timedelta(minutes=minutes)
    stamps = [first + n * step for n in range(days * DAY // step)]
    rows = [
        f"{at:%Y-%m-%d %H:%M:%S},{price},{price + 2},{price - 1},{price + at.hour % 3},{10 + at.hour}"
        for at in stamps
        if not 6 <= at.hour < 6 + skipped
    ]
    return "\n".join([HEADER, *rows, ""])


def right(instrument: str) -> str:
    """Four sessions; those of ONE.MADE lack an hour."""
    return bars(4, price=100, skipped=1) if instrument == "ONE.MADE" else bars(4, price=50)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", *map(str, words)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def bring(patch: pytest.MonkeyPatch, workplace: Workplace, text: str, *, to: str, name: str = "prices.csv") -> None:
    home = workplace.settings.home
    patch.setenv("GAUNTLET_HOME", str(home))
    patch.setenv("GAUNTLET_PROJECT", str(workplace.settings.project))
    (home / name).write_text(text)
    dataset = next(iter(workplace.project.datasets))
    assert run(patch, "import", home / name, "--dataset", dataset, "--instrument", to) == 0


def calm_night(workplace: Workplace) -> None:
    assert quiet_night(workplace).failed == []


def made(lake: Lake) -> dict[str, pl.DataFrame]:
    """Whatever follows from what was received, without its numbers and when it came."""
    aside = ("sequence", "received_at")
    frames = {name: lake.read(name).drop(aside, strict=False) for name in MADE}
    return {
        name: rows.sort([column for column, dtype in rows.schema.items() if dtype != pl.List(pl.String)])
        for name, rows in frames.items()
    }


def assert_same(lake: Lake, wanted: dict[str, pl.DataFrame]) -> None:
    found = made(lake)
    for name in MADE:
        assert_frame_equal(found[name], wanted[name])


def due(workplace: Workplace) -> list[str]:
    return [str(work) for work in night.due(workplace, night.as_of_now(workplace, at=now()))]


@pytest.mark.parametrize(
    ("order", "wrong"),
    [
        pytest.param("right wrong", bars(4, price=107), id="the same bars"),
        pytest.param("wrong right", bars(4, price=107), id="and mended by hand before"),
        pytest.param("right wrong", bars(3, price=107, skipped=5), id="fewer bars"),
        pytest.param("wrong right", bars(7, price=107), id="more sessions than anything else reaches"),
        pytest.param("right wrong", bars(2, price=107).replace("03-02 03", "03-44 03"), id="a row without a time"),
    ],
)
def test_all_is_as_if_the_wrong_file_had_never_come(
    mended: Workplace, never: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, order: str, wrong: str
) -> None:
    files = {"right": right("ONE.MADE"), "wrong": wrong}
    bring(monkeypatch, mended, right("OTHER.MADE"), to="OTHER.MADE")
    for which in order.split():
        bring(monkeypatch, mended, files[which], to="ONE.MADE", name=f"{which}.csv")
        calm_night(mended)
    (sequence,) = mended.lake.read("receipts").filter(pl.col("origin") == "wrong.csv")["sequence"]
    n_raw = mended.lake.read("raw_bars").height
    with pytest.raises(AssertionError):
        assert_same(mended.lake, never)
    retract(mended, "dropped", [sequence], why="of another instrument")
    calm_night(mended)

    assert_same(mended.lake, never)
    assert due(mended) == []
    assert mended.lake.read("raw_bars").height == n_raw
    assert mended.lake.read("retractions").select("dataset", "sequence", "why").rows() == [
        ("dropped", sequence, "of another instrument")
    ]


def test_rows_of_sessions_that_their_receipt_does_not_speak_for_are_forgotten_too(
    mended: Workplace, never: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the morning has rows of a session that was not over: those are judged later, beside the next file's."""
    for instrument in ("OTHER.MADE", "ONE.MADE"):
        bring(monkeypatch, mended, right(instrument), to=instrument)
    stamp = pl.Series("ts", [datetime(2024, 3, 4, 6, tzinfo=UTC)], tables.TS)  # an hour that the right file lacks
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 107.0)
    rows = stamp.to_frame().select(pl.lit(1, pl.Int64).alias("line"), "ts", **{k: pl.lit(v) for k, v in prices.items()})
    early = Delivery("ONE.MADE", rows, "wrong.csv", START, START)
    keep(mended.lake, mended.project.datasets["dropped"], [early], at=now())
    calm_night(mended)
    assert mended.lake.read("bars", sequence=3).height == 1
    retract(mended, "dropped", [3], why="wrong")
    calm_night(mended)
    assert_same(mended.lake, never)


def test_nothing_is_left_of_a_data_set_whose_only_file_was_wrong(
    mended: Workplace, never: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch, mended, bars(3, price=107), to="ONE.MADE")
    calm_night(mended)
    retract(mended, "dropped", [1], why="wrong")
    assert {name for name, rows in made(mended.lake).items() if rows.height} == set()
    for instrument in ("OTHER.MADE", "ONE.MADE"):
        bring(monkeypatch, mended, right(instrument), to=instrument)
    calm_night(mended)
    assert_same(mended.lake, never)


def test_killed_before_the_end_everything_is_made_again_as_it_was(
    mended: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch, mended, bars(2, price=100), to="ONE.MADE")
    bring(monkeypatch, mended, bars(4, price=107), to="ONE.MADE", name="wrong.csv")
    calm_night(mended)
    before = made(mended.lake)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("resources.retractions.keep", killed)
        with pytest.raises(KeyboardInterrupt):
            retract(mended, "dropped", [2], why="wrong")
    assert made(mended.lake)["bars"].height < before["bars"].height
    calm_night(mended)
    assert_same(mended.lake, before)


def test_what_a_file_stated_of_corporate_actions_falls_with_it(
    mended: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch, mended, bars(4, price=100), to="ONE.MADE")
    rows = bars(4, price=107).splitlines()[1:]
    stating = [f"{row},{0.5 if row.startswith('2024-03-03 00') else 0},1" for row in rows]
    text = "\n".join([f"{HEADER},dividend,split", *stating, ""])
    bring(monkeypatch, mended, text, to="ONE.MADE", name="wrong.csv")
    calm_night(mended)
    actions = mended.lake.read("corporate_actions").select("ex_date", "kind", "value")
    assert actions.rows() == [(date(2024, 3, 3), "dividend", 0.5)]
    assert retract(mended, "dropped", [2], why="wrong").n_statements == 1
    calm_night(mended)
    assert mended.lake.read("corporate_actions").is_empty()
    assert mended.lake.read("raw_actions").height == 1
    assert due(mended) == []


# In a project whose source can be asked


def test_what_was_computed_with_it_is_named_and_made_again(after: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    before, n_receipts = made(after.lake), after.lake.read("receipts").height
    bring(monkeypatch, after, bars(3, price=107, begin=FIRST, minutes=5), to=BTC, name="wrong.csv")
    calm_night(after)
    sequence = n_receipts + 1
    assert after.lake.read("bars", sequence=sequence).height > 0
    retract(after, "crypto_5m", [sequence], why="of another clock")
    pieces = night.due(after, night.as_of_now(after, at=now()))
    assert [str(work) for work in pieces if work.dataset] == ["market_crypto_5m 2017-07-01 to 2017-07-03"]

    told = []
    with monkeypatch.context() as patch:
        patch.setattr(inputs_current, "tell", lambda _, results: told.extend(results))
        calm_night(after)
    named = {result.asset_key.path[-1]: result.metadata for result in told if not result.passed}
    assert {"features", "backtest"} <= set(named)
    assert named["features"]["changed"].value == 0, "no receipt is newer"
    assert str(named["features"][inputs_current.OTHERWISE].value).startswith("2017-07-01")
    assert str(named["backtest"][inputs_current.OTHERWISE].value).startswith(STRATEGY)
    assert "a receipt was retracted" in str(named["features"][inputs_current.OTHERWISE].value)

    assert_same(after.lake, before)
    assert due(after) == []
    assert inputs_current.features_check(after.lake, after.project, after.project.datasets["crypto_5m"]).passed


def test_what_a_source_was_asked_for_is_asked_for_again(after: Workplace) -> None:
    before = made(after.lake)
    retract(after, "crypto_5m", [1], why="a bad day at the source")
    assert quiet_night(after).new_rows["crypto_5m"] > 0
    assert_same(after.lake, before)
    assert sorted(after.lake.read("receipts")["sequence"]) == [1, 2, 3]
    assert due(after) == []


# What is said


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Two receipts of the small project, not judged."""
    small = open_small(write_project(tmp_path), monkeypatch)
    for n in (1, 2):
        text = bars(n, price=100 + n, begin=FIRST, minutes=5)
        bring(monkeypatch, small, text, to=BTC, name=f"file {n}.csv")
    return small


def test_it_says_what_it_took_back_and_what_to_do_next(
    small: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "retract", "crypto_5m", 2, "--why", "of another clock") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"retracted receipt 2 of crypto_5m: file 2.csv, 576 rows of {BTC}, 2017-07-01 to 2017-07-02",
        "next: gauntlet nightly --dataset crypto_5m makes anew what hung on that",
    ]
    assert run(monkeypatch, "retract", "crypto_5m", 1, "--why", "too", "--json") == 0
    (taken_back,) = json.loads(capsys.readouterr().out)["retracted"]
    assert (taken_back["sequence"], taken_back["file"], taken_back["rows"]) == (1, "file 1.csv", 288)
    assert set(small.lake.read("retractions")["why"]) == {"of another clock", "too"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["crypto", "1", "--why", "wrong"], "no data set is called 'crypto': did you mean 'crypto_5m'?"),
        (["crypto_5m", "3", "--why", "wrong"], f"crypto_5m has no receipt 3; the nearest are 1 ({BTC}, file 1.csv, "),
        (["crypto_5m", "1", "--why", " "], "a retraction is kept with its reason, got none: say it with --why"),
        (["crypto_5m", "1"], "--why"),
    ],
)
def test_what_cannot_be_taken_back_ends_in_a_sentence(
    small: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    assert run(monkeypatch, "retract", *words) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert small.lake.read("retractions").is_empty()


def test_all_are_taken_back_or_none(small: Workplace) -> None:
    with pytest.raises(UnknownReceiptError):
        retract(small, "crypto_5m", [1, 7], why="wrong")
    assert small.lake.read("retractions").is_empty()
    assert retract(small, "crypto_5m", [2, 1, 2], why="wrong").receipts["sequence"].to_list() == [1, 2]
    with pytest.raises(RetractedBeforeError):
        retract(small, "crypto_5m", [1], why="wrong")
    with pytest.raises(NoReasonError):
        retract(small, "crypto_5m", [1], why="")
    tables.check("retractions", small.lake.read("retractions"))


def test_nobody_else_may_be_writing(small: Workplace) -> None:
    words = ["retract", "crypto_5m", "1", "--why", "wrong"]
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", *words]
    with lock.held(small.settings.lock, purpose="a night", wait=False):
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a night" in done.stderr
    assert small.lake.read("retractions").is_empty()
