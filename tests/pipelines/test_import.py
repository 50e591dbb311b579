"""Bringing files in: by hand with `gauntlet import`, and from an inbox, whatever happens on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets import inputs
from assets.imported_files import TakenIn, imported_files, take_in
from pipelines import schedules
from pipelines.cli.main import main
from pipelines.code_location import build
from pipelines.requests import ATTEMPTS
from pipelines.run_night import run_night
from pipelines.sensors import identity
from pipelines.workplace import Workplace, open_workplace
from quality import tables
from quality.datasets import Dataset
from resources import lock, retractions
from resources.calendars import open_calendar
from resources.clock import now
from resources.lake import Lake
from resources.sources.files_source import FilesSource
from tests.sample_packing import SHARED
from tests.small_project import CHECKOUT, DATASET, write_project

pytestmark = pytest.mark.slow

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")
BTC, ETH = "BTCUSD.BITFINEX", "ETHUSD.BITFINEX"
DROPPED = DATASET.replace("crypto_5m", "dropped").replace("kind: sample", "kind: files")
OPEN = datetime(2017, 7, 1, tzinfo=UTC)
HEADER = "date,open,high,low,close,volume"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The small project, and a data set of kind files beside the sample."""
    root = write_project(tmp_path / "project")
    (root / "datasets" / "dropped.yaml").write_text(DROPPED)
    monkeypatch.setenv("GAUNTLET_PROJECT", str(root))
    monkeypatch.setenv("GAUNTLET_HOME", str(root / "home"))
    return open_workplace()


@pytest.fixture
def dropped(workplace: Workplace) -> Dataset:
    return workplace.project.datasets["dropped"]


@pytest.fixture
def inbox(workplace: Workplace) -> Path:
    folder = workplace.settings.home / "inbox" / "dropped"
    folder.mkdir(parents=True)
    return folder


def bars(*, day: int = 0, n: int = 288, price: float = 100.0, step: int = 5) -> str:
    stamps = [OPEN + timedelta(days=day, minutes=step * i) for i in range(n)]
    closes = [price + i % 7 / 100 for i in range(n)]
    rows = [
        f"{stamp:%Y-%m-%d %H:%M:%S},{price},{price + 1},{price - 1},{close:.2f},{10 + i}"
        for i, (stamp, close) in enumerate(zip(stamps, closes, strict=True))
    ]
    return "\n".join([HEADER, *rows, ""])


def drop(folder: Path, name: str, text: str) -> None:
    """A file that was last written to long ago, after all that were dropped before."""
    drop.order += 1  # type: ignore[attr-defined]
    path = folder / name
    path.write_text(text)
    stamp = time.time() - 3600 + drop.order  # type: ignore[attr-defined]
    os.utime(path, (stamp, stamp))


drop.order = 0  # type: ignore[attr-defined]


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", *map(str, words)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def receipts(lake: Lake, dataset: str = "dropped") -> list[tuple[str, int, str]]:
    held = lake.read("receipts", dataset=dataset).sort("sequence")
    return held.select("instrument", "n_rows", "origin").rows()


def hold(lake: Lake, dataset: str) -> None:
    """A session of bars at 100, accepted before."""
    stamps = [OPEN + timedelta(minutes=5 * n) for n in range(288)]
    label = {"dataset": dataset, "instrument": BTC, "session": OPEN.date(), "sequence": 1, "filled": False}
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 100.0)
    lake.append("bars", tables.frame("bars", [{**label, **prices, "ts": stamp} for stamp in stamps]))


def everything(lake: Lake) -> dict[str, pl.DataFrame]:
    """What was received, without when."""
    return {
        "receipts": lake.read("receipts").drop("received_at").sort("dataset", "sequence"),
        "raw_bars": lake.read("raw_bars").sort("dataset", "sequence", "line"),
        "raw_actions": lake.read("raw_actions").drop("received_at").sort("dataset", "sequence", "line"),
    }


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# By hand


def test_a_file_is_kept_as_a_receipt_and_stays_where_it_is(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(bars(n=286))
    words = ("import", file, "--dataset", "crypto_5m", "--instrument", BTC)
    assert run(monkeypatch, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "prices.csv",
        "format": "ohlcv",
        "timeframe": "5m",
        "dataset": "crypto_5m",
        "instrument": BTC,
        "rows": 286,
        "first": "2017-07-01T00:00:00Z",
        "last": "2017-07-01T23:45:00Z",
        "sessions": 1,
        "due": 288,
        "present": 286,
        "new": True,
        "suspicious": ["the last session, 2017-07-01, ends 2 bars early"],
        "next": "gauntlet nightly --dataset crypto_5m",
    }
    assert receipts(workplace.lake, "crypto_5m") == [(BTC, 286, "prices.csv")]
    assert workplace.lake.read("raw_bars")["line"].to_list() == list(range(1, 287))
    assert file.exists()

    assert run(monkeypatch, *words) == 0
    told = capsys.readouterr().out
    assert "held already: nothing was added" in told
    assert "286 of 288 bars due in 1 sessions of crypto_5m are among them" in told
    assert "next: gauntlet nightly --dataset crypto_5m judges them" in told
    assert len(receipts(workplace.lake, "crypto_5m")) == 1


def test_what_looks_wrong_is_told_and_stops_nothing(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = bars(day=-1).splitlines()
    lines[3] = lines[3].replace("100.0,101.0", "100.0,not_digits")
    lines[4] = "no time," + lines[4].partition(",")[2]
    lines[6] = lines[5]
    lines[7] = lines[7].replace(":30:00", ":30:07")
    file = tmp_path / "ethusd.csv"
    file.write_text("\n".join(lines) + "\n")
    assert run(monkeypatch, "import", file, "--dataset", "crypto_5m", "--instrument", BTC, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["suspicious"] == [
        f"the file's name says {ETH}, not {BTC}",
        "it reaches from 2017-06-30 to 2017-06-30, and the data set holds 2017-07-01 to 2017-07-21: the rest is kept and not used",
        "1 rows have no readable time",
        "1 rows lack a price",
        "1 rows have the time of another",
    ]  # fmt: skip
    assert (result["due"], result["present"], result["sessions"]) == (0, 0, 0)
    assert receipts(workplace.lake, "crypto_5m") == [(BTC, 288, "ethusd.csv")]


def suspicious(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path, *more: str
) -> list[str]:
    words = ("import", file, "--dataset", "crypto_5m", "--instrument", BTC, *more, "--json")
    assert run(monkeypatch, *words) == 0
    told: list[str] = json.loads(capsys.readouterr().out)["suspicious"]
    return told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(bars(), [], id="a whole session"),
        pytest.param(bars(n=202), ["the last session, 2017-07-01, ends 86 bars early"], id="33: it ends at 16:47"),
        pytest.param(bars(n=287), ["the last session, 2017-07-01, ends 1 bar early"], id="33: by a bar"),
        pytest.param(bars(day=-1, price=101.0) + bars().partition("\n")[2], ["it reaches from 2017-06-30 to 2017-07-01, and the data set holds 2017-07-01 to 2017-07-21: the rest is kept and not used"], id="what lies outside of the data set is not counted"),
        pytest.param(bars().replace("12:00:00", "12:00:07"), ["1 rows are of times at which the calendar 24/7 has no bar of BTCUSD.BITFINEX"], id="what lies inside is"),
    ],
)  # fmt: skip
def test_times_are_told_of_the_data_sets_own_span(
    workplace: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    told: list[str],
) -> None:
    (tmp_path / "btcusd.csv").write_text(text)
    assert suspicious(monkeypatch, capsys, tmp_path / "btcusd.csv") == told


def test_what_lies_outside_of_the_data_sets_span_casts_no_doubt_on_the_clock(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evening = bars(day=-1, price=101.0).splitlines()[241:]  # four hours that would fit the span four hours later
    (tmp_path / "btcusd.csv").write_text("\n".join([HEADER, *evening, bars(n=200).partition("\n")[2]]))
    told = suspicious(monkeypatch, capsys, tmp_path / "btcusd.csv")
    assert not [one for one in told if "would fit" in one]
    assert any("the rest is kept and not used" in one for one in told)


def test_volumes_that_are_missing_where_they_are_what_traded_are_told(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = bars().splitlines()[1:3]
    without = [line.rpartition(",")[0] + "," for line in bars().splitlines()[1:]]
    cases = {
        "all": ([*without], "no row has a volume, and those of crypto_5m are what traded"),
        "some": ([first, *without[1:]], "287 rows of 288 lack a volume, and the others have one"),
        "text": ([first, f"{second}x", *without[2:]], "1 row has a volume that is no number"),
    }
    for name, (lines, sentence) in cases.items():
        (tmp_path / f"btcusd {name}.csv").write_text("\n".join([HEADER, *lines, ""]))
        assert any(sentence in one for one in suspicious(monkeypatch, capsys, tmp_path / f"btcusd {name}.csv")), name
    path = workplace.settings.project / "datasets" / "crypto_5m.yaml"
    path.write_text(path.read_text().replace("volume: traded", "volume: none"))
    for name in cases:
        assert suspicious(monkeypatch, capsys, tmp_path / f"btcusd {name}.csv") == [], name


def test_rows_of_times_to_come_are_told_and_speak_for_no_session(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "btcusd.csv").write_text(bars() + "2098-01-31 00:00:00,100,101,99,100,100\n")
    (told,) = suspicious(monkeypatch, capsys, tmp_path / "btcusd.csv")
    assert told.startswith("1 rows are of times after now, ")
    (last,) = workplace.lake.read("receipts")["last_session"]
    assert last == OPEN.date()


@pytest.mark.parametrize(
    ("day", "price", "told"),
    [
        pytest.param(0, 110.0, [], id="the same bars, near enough"),
        pytest.param(0, 500.0, ["prices are 5 times those held in 288 bars that both have: probably another unit, another instrument, or a split"], id="the same bars"),
        pytest.param(1, 20.0, ["prices are 0.2 times those held next to it: probably another unit, another instrument, or a split"], id="the day after"),
        pytest.param(-1, 1.0, [], id="nothing beside"),
    ],
)  # fmt: skip
def test_prices_of_another_size_than_those_held_are_told(
    workplace: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    day: int,
    price: float,
    told: list[str],
) -> None:
    hold(workplace.lake, "crypto_5m")
    (tmp_path / "btcusd.csv").write_text(bars(day=day, price=price))
    found = suspicious(monkeypatch, capsys, tmp_path / "btcusd.csv")
    assert [sentence for sentence in found if sentence.startswith("prices")] == told


def test_a_file_of_another_clock_is_refused_and_nothing_is_kept(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap 11."""
    path = workplace.settings.project / "datasets" / "crypto_5m.yaml"
    path.write_text(path.read_text().replace("24/7", "FX").replace("kind: sample", "kind: files"))
    due = open_calendar("FX").due(OPEN.date(), OPEN.date() + timedelta(days=19), "5m")["ts"]
    rows = [f"{stamp + timedelta(hours=5):%Y-%m-%d %H:%M:%S},10,11,9,10,100" for stamp in due]
    (tmp_path / "btcusd.csv").write_text("\n".join([HEADER, *rows, ""]))
    words = ("import", tmp_path / "btcusd.csv", "--dataset", "crypto_5m", "--instrument", BTC)
    assert run(monkeypatch, *words) == 2
    assert "say the right one with --timezone, or with `timezone:` under `source`" in capsys.readouterr().err
    assert receipts(workplace.lake, "crypto_5m") == []
    assert any("would fit 5 hours" in one for one in suspicious(monkeypatch, capsys, words[1], "--timezone", "UTC"))
    assert len(receipts(workplace.lake, "crypto_5m")) == 1


def test_a_day_that_the_calendar_does_not_reach_is_found_before_anything_is_kept(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workplace.settings.project / "datasets" / "dropped.yaml"
    daily = DROPPED.replace("timeframe: 5m", "timeframe: 1d").replace("resample: [1h, 1d]", "resample: []")
    path.write_text(daily.replace("timeframe: 1h", "timeframe: 1d"))
    rows = [f"1969-12-{day},10,11,9,10,100" for day in range(20, 32)]
    (tmp_path / "btcusd.csv").write_text("\n".join([HEADER, *rows, ""]))
    words = ("import", tmp_path / "btcusd.csv", "--dataset", "dropped", "--instrument", BTC)
    assert run(monkeypatch, *words) == 2
    assert "no session can be told for its 12 rows" in capsys.readouterr().err
    assert receipts(workplace.lake) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.csv", "--dataset", "crypto_5m", "--instrument", BTC], "nowhere.csv cannot be opened"),
        (["bars.csv", "--dataset", "crypto", "--instrument", BTC], "no data set is called 'crypto': did you mean 'crypto_5m'?"),
        (["bars.csv", "--dataset", "crypto_5m", "--instrument", "XRP"], f"the data set crypto_5m has no instrument 'XRP': it has {BTC}, {ETH}"),
        (["bars.csv", "--dataset", "crypto_5m", "--instrument", BTC, "--format", "ohlcw"], "no layout is called 'ohlcw': did you mean 'ohlcv'?"),
        (["bars.csv", "--dataset", "crypto_5m", "--instrument", BTC, "--timezone", "Mars"], "'Mars' is no time zone"),
        (["minutes.csv", "--dataset", "crypto_5m", "--instrument", BTC], "its bars are of 1m, those of crypto_5m of 5m"),
        (["several.csv", "--dataset", "crypto_5m", "--instrument", BTC], "several.csv holds the series one, two, and none of them is BTCUSD.BITFINEX"),
        ([".", "--dataset", "crypto_5m", "--instrument", BTC], ". cannot be opened"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_ends_in_a_sentence(
    workplace: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bars.csv").write_text(bars())
    (tmp_path / "minutes.csv").write_text(bars(step=1))
    named = [f"{line},{name}" for line in bars(n=9).splitlines()[1:] for name in ("one", "two")]
    (tmp_path / "several.csv").write_text("\n".join([f"{HEADER},symbol", *named, ""]))
    assert run(monkeypatch, "import", *words) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert receipts(workplace.lake, "crypto_5m") == []


def test_one_series_of_several_is_imported_by_its_name(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"{line},{name}" for line in bars(n=9).splitlines()[1:] for name in ("ETHUSD", "tBTCUSD")]
    (tmp_path / "several.csv").write_text("\n".join([f"{HEADER},symbol", *named, ""]))
    assert run(monkeypatch, "import", tmp_path / "several.csv", "--dataset", "crypto_5m", "--instrument", BTC) == 0
    assert receipts(workplace.lake, "crypto_5m") == [(BTC, 9, "several.csv")]
    assert workplace.lake.read("raw_bars")["line"].to_list() == list(range(2, 19, 2))


def test_an_id_may_be_typed_in_lower_case(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bars.csv").write_text(bars(n=9))
    words = ("import", tmp_path / "bars.csv", "--dataset", "crypto_5m", "--instrument", BTC.lower())
    assert run(monkeypatch, *words) == 0
    assert receipts(workplace.lake, "crypto_5m") == [(BTC, 9, "bars.csv")]


@pytest.mark.slow
def test_an_import_waits_for_nobody_and_says_who_writes(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bars.csv").write_text(bars())
    words = ["import", str(tmp_path / "bars.csv"), "--dataset", "crypto_5m", "--instrument", BTC]
    code = "from pipelines.cli.main import main; main()"
    with lock.held(workplace.settings.lock, purpose="a night", wait=False):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("a night (process ")
    assert receipts(workplace.lake, "crypto_5m") == []


@needs_shared_data
def test_what_no_row_shows_is_suspicious_too(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CHECKOUT / "datasets" / "us_equities_1d.yaml", workplace.settings.project / "datasets")
    file = SHARED / "equity" / "lean_1d" / "AAPL.csv.gz"
    assert run(monkeypatch, "import", file, "--dataset", "us_equities_1d", "--instrument", "AAPL.XNAS", "--json") == 0
    suspicious = "\n".join(json.loads(capsys.readouterr().out)["suspicious"])
    assert "7:1 at 2014-06-09" in suspicious, "raw prices step at a split, and the file states none"


# From the inbox


def empty_inbox(workplace: Workplace, dataset: Dataset) -> TakenIn:
    return take_in(workplace.lake, dataset, FilesSource(dataset, workplace.settings))


def test_all_that_waits_is_kept_and_put_away(workplace: Workplace, dropped: Dataset, inbox: Path) -> None:
    drop(inbox, f"{BTC}.csv", bars())
    drop(inbox, "ethusd 1.csv", bars(price=20))
    drop(inbox, "ethusd 2.csv", bars(price=21))
    drop(inbox, "mystery.csv", bars())
    drop(inbox, "ethusd 3.csv", bars(day=1, price=22))
    got = empty_inbox(workplace, dropped)
    assert (got.rows, got.new_rows, got.n_receipts) == (4 * 288, 4 * 288, 4)
    assert receipts(workplace.lake) == [
        (BTC, 288, f"{BTC}.csv"),
        (ETH, 288, "ethusd 1.csv"),
        (ETH, 288, "ethusd 2.csv"),
        (ETH, 288, "ethusd 3.csv"),
    ]
    assert tree(inbox) == {
        *(f"done/{name}" for name in (f"{BTC}.csv", "ethusd 1.csv", "ethusd 2.csv", "ethusd 3.csv")),
        "refused/mystery.csv",
        "refused/mystery.csv.why.txt",
    }
    assert empty_inbox(workplace, dropped) == TakenIn(0, 0, 0, 0, [])


@pytest.mark.parametrize(
    ("day", "price", "outcome"),
    [(0, 499.0, "taken in"), (0, 500.0, "refused"), (1, 20.0, "refused"), (3, 1.0, "taken in")],
)
def test_prices_of_another_size_than_those_held_are_refused_with_the_way_to_bring_them(
    workplace: Workplace, dropped: Dataset, inbox: Path, day: int, price: float, outcome: str
) -> None:
    """Traps 14 and 21."""
    hold(workplace.lake, "dropped")
    drop(inbox, "btcusd.csv", bars(day=day, price=price))
    source = FilesSource(dropped, workplace.settings, lake=workplace.lake)
    take_in(workplace.lake, dropped, source)
    (handled,) = source.handled
    assert handled.outcome == outcome
    if outcome == "refused":
        why = (inbox / "refused" / "btcusd.csv.why.txt").read_text()
        assert f"{BTC}: prices are {price / 100:g} times those held" in why
        assert "gauntlet import FILE --dataset dropped" in why
        assert receipts(workplace.lake) == []


def test_prices_of_a_retracted_receipt_refuse_no_file(workplace: Workplace, dropped: Dataset, inbox: Path) -> None:
    hold(workplace.lake, "dropped")
    retractions.keep(workplace.lake, "dropped", [1], why="another instrument", at=now())
    drop(inbox, "btcusd.csv", bars(day=1, price=20.0))
    source = FilesSource(dropped, workplace.settings, lake=workplace.lake)
    take_in(workplace.lake, dropped, source)
    assert [one.outcome for one in source.handled] == ["taken in"]


@pytest.mark.parametrize(("price", "outcome"), [(10.0, "taken in"), (20.0, "taken in"), (10_000.0, "refused")])
def test_a_split_that_is_known_refuses_no_file(
    workplace: Workplace, dropped: Dataset, inbox: Path, price: float, outcome: str
) -> None:
    hold(workplace.lake, "dropped")
    split = {
        "dataset": "dropped",
        "instrument": BTC,
        "ex_date": OPEN.date() + timedelta(days=1),
        "kind": "split",
        "value": 10.0,
    }
    workplace.lake.append("corporate_actions", tables.frame("corporate_actions", [split]))
    drop(inbox, "btcusd.csv", bars(day=1, price=price))
    source = FilesSource(dropped, workplace.settings, lake=workplace.lake)
    take_in(workplace.lake, dropped, source)
    assert [one.outcome for one in source.handled] == [outcome]


def test_a_night_knows_the_files_that_were_refused_and_the_bars_that_were_restated(
    workplace: Workplace, inbox: Path
) -> None:
    drop(inbox, "btcusd.csv", bars())
    drop(inbox, "mystery.csv", bars())
    first = run_night(workplace, only=["dropped"], no_later_than=None, say=lambda _: None)
    assert [(one.dataset, one.file) for one in first.refused] == [("dropped", "mystery.csv")]
    assert "no instrument answers to it" in first.refused[0].about
    assert first.restated == {}
    drop(inbox, "btcusd again.csv", bars(n=100, price=101.0))
    second = run_night(workplace, only=["dropped"], no_later_than=None, say=lambda _: None)
    assert second.refused == []
    assert second.restated == {"dropped": 100}


def test_the_same_file_again_is_no_new_receipt_and_is_put_away_beside_the_first(
    workplace: Workplace, dropped: Dataset, inbox: Path
) -> None:
    for _ in range(2):
        drop(inbox, "btcusd.csv", bars())
        empty_inbox(workplace, dropped)
    assert receipts(workplace.lake) == [(BTC, 288, "btcusd.csv")]
    assert tree(inbox) == {"done/btcusd.csv", "done/btcusd-2.csv"}


class DiesBeforeItIsPutAway(FilesSource):
    def settle(self) -> None:
        raise KeyboardInterrupt


def test_files_that_were_kept_and_not_put_away_are_found_to_be_held(
    workplace: Workplace, dropped: Dataset, inbox: Path
) -> None:
    for n in range(3):
        drop(inbox, f"btcusd {n}.csv", bars(price=100 + n))
    with pytest.raises(KeyboardInterrupt):
        take_in(workplace.lake, dropped, DiesBeforeItIsPutAway(dropped, workplace.settings))
    assert tree(inbox) == {f"btcusd {n}.csv" for n in range(3)}
    assert empty_inbox(workplace, dropped).n_receipts == 2
    assert [origin for _, _, origin in receipts(workplace.lake)] == [f"btcusd {n}.csv" for n in range(3)]


def test_the_asset_says_what_became_of_every_file(workplace: Workplace, dropped: Dataset, inbox: Path) -> None:
    drop(inbox, "btcusd.csv", bars())
    drop(inbox, "mystery.csv", bars())
    asset = imported_files(workplace.project, dropped)
    done = dg.materialize([asset], instance=dg.DagsterInstance.ephemeral(), resources={"lake": workplace.lake})
    events = {event.asset_key.path[-1]: event.step_materialization_data.materialization for event in done.get_asset_materialization_events()}  # type: ignore[union-attr]  # fmt: skip
    assert set(events) == {"imported_files", "raw_bars", "receipts"}
    metadata = events["imported_files"].metadata
    assert {name: metadata[name].value for name in ("rows", "new_rows", "refused")} == {
        "rows": 288,
        "new_rows": 288,
        "refused": 1,
    }
    table = [record.data for record in metadata["files"].records]  # type: ignore[union-attr]
    assert [(row["file"], row["outcome"]) for row in table] == [("btcusd.csv", "taken in"), ("mystery.csv", "refused")]
    assert "no instrument answers to it" in str(table[1]["about"])
    assert events["receipts"].metadata["new"].value == 1


@needs_shared_data
@pytest.mark.slow
def test_every_real_file_is_taken_in_or_refused_and_none_is_lost(
    workplace: Workplace, dropped: Dataset, inbox: Path
) -> None:
    real = [
        path for path in SHARED.rglob("*") if path.suffix in {".csv", ".gz", ".parquet"} and path.stat().st_size < 1e6
    ]
    for n, path in enumerate(real):
        target = inbox / f"BTCUSD {n} {path.name}"
        target.write_bytes(path.read_bytes())
        os.utime(target, (time.time() - 3600 + n,) * 2)
    got = empty_inbox(workplace, dropped)
    assert len(got.handled) == len(real) > 80
    assert {one.outcome for one in got.handled} == {"taken in", "refused"}
    names = {Path(name).name for name in tree(inbox)}
    assert {f"BTCUSD {n} {path.name}" for n, path in enumerate(real)} <= names
    assert sum(name.endswith(".why.txt") for name in names) == sum(one.outcome == "refused" for one in got.handled)


TAKE_IN = """
from assets.imported_files import take_in
from pipelines.workplace import open_workplace
from resources import lock, retractions
from resources.sources.files_source import FilesSource
workplace = open_workplace()
dataset = workplace.project.datasets["dropped"]
print("ready", flush=True)
with lock.held(workplace.settings.lock, purpose="a test", wait=True):
    got = take_in(workplace.lake, dataset, FilesSource(dataset, workplace.settings))
print(got.n_receipts)
"""


def begin() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", TAKE_IN], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def fill(inbox: Path) -> None:
    for n in range(4):
        drop(inbox, f"btcusd {n}.csv", bars(price=100 + n))
        drop(inbox, f"ethusd {n}.csv", bars(day=n, price=20 + n))
    drop(inbox, "mystery.csv", bars())


@pytest.mark.slow
def test_two_processes_at_once_keep_every_file_once(workplace: Workplace, inbox: Path) -> None:
    fill(inbox)
    both = [begin() for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in both) == 8
    assert sorted(origin for _, _, origin in receipts(workplace.lake)) == sorted(
        f"{name} {n}.csv" for name in ("btcusd", "ethusd") for n in range(4)
    )
    assert len(tree(inbox)) == 10


@pytest.mark.slow
def test_killed_at_any_point_and_done_again_leaves_the_same_tables(
    workplace: Workplace, dropped: Dataset, inbox: Path, tmp_path: Path
) -> None:
    fill(inbox)
    kills = 0
    for after_ms in (0, 30, 60, 100, 150, 250):
        process = begin()
        time.sleep(after_ms / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    empty_inbox(workplace, dropped)
    killed = everything(workplace.lake)
    names = {name.removesuffix(".why.txt") for name in tree(inbox) if (inbox / name).stat().st_size}
    assert len(names) == 9

    calm = Lake(root=str(tmp_path / "calm"), lock_path="")
    for path in inbox.rglob("*.csv"):
        path.unlink()
    drop.order = 0  # type: ignore[attr-defined]
    fill(inbox)
    take_in(calm, dropped, FilesSource(dropped, workplace.settings))
    for name, frame in everything(calm).items():
        assert killed[name].equals(frame), name


# When Dagster asks again


def test_files_that_cannot_be_moved_are_tried_again_once_and_then_told(workplace: Workplace, inbox: Path) -> None:
    drop(inbox, "btcusd.csv", bars())
    repository = build(workplace).get_repository_def()
    sensor = repository.get_sensor_def("dropped_files")
    with dg.DagsterInstance.ephemeral() as dagster:

        def tick() -> tuple[list[dg.RunRequest], str]:
            context = dg.build_sensor_context(instance=dagster, repository_def=repository)
            data = sensor.evaluate_tick(context)
            return list(data.run_requests or []), str(data.skip_message)

        keys = set()
        for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS):  # it may end well and move nothing
            ((request,), _) = tick()
            keys.add(request.run_key)
            dagster.add_run(dg.DagsterRun(job_name=request.job_name, tags=request.tags, status=status))
        assert len(keys) == ATTEMPTS
        given_up, why = tick()
        assert given_up == []
        assert why.startswith("files of dropped were to be taken in 2 times and wait still")
        os.utime(inbox / "btcusd.csv", (time.time() - 1800,) * 2)
        assert len(tick()[0]) == 1, "another file is another matter"


def test_sensors_look_again_when_the_rules_of_a_universe_change(workplace: Workplace) -> None:
    project = workplace.project
    name, rules = next(iter(project.universes.items()))
    longer = rules.model_copy(update={"window_sessions": rules.window_sessions + 1})
    assert identity(project._replace(universes={**project.universes, name: longer})) != identity(project)


def test_pages_that_failed_are_asked_for_again_the_next_night_and_once_a_night(workplace: Workplace) -> None:
    inputs.record(workplace.lake, "warehouse", {inputs.ALL: "sha256:tables"}, run_id="a run")
    (documents,) = [one for one in schedules.schedules(workplace) if one.name == "data_docs_nightly"]

    def asked(*at: int) -> str | None:
        context = dg.build_schedule_context(scheduled_execution_time=datetime(*at, tzinfo=UTC))
        (request,) = documents.evaluate_tick(context).run_requests or []
        return request.run_key

    first, again, next_night = asked(2024, 1, 2, 5, 30), asked(2024, 1, 2, 5, 30), asked(2024, 1, 3, 5, 30)
    assert first == again
    assert first != next_night
