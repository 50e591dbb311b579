"""What a source changed since a day: counted by instrument and session, and bar by bar."""

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import main
from pipelines.diff import by_session, restated_bars
from pipelines.workplace import Workplace
from quality import tables
from resources.lake import Lake
from tests.small_project import open_small, write_project

BTC, ETH = "BTCUSD.BITFINEX", "ETHUSD.BITFINEX"
MONDAY = datetime(2017, 7, 17, tzinfo=UTC)
CAME = datetime(2017, 8, 1, 6, tzinfo=UTC)
PRICES = ("open", "high", "low", "close", "volume")


def restated(
    ts: datetime, *, new: float | None, of: str = ETH, kind: str = "changed", came: datetime = CAME
) -> dict[str, Any]:
    """A bar whose values were all 100, and are now all `new`."""
    return {
        "dataset": "crypto_5m",
        "instrument": of,
        "session": ts.date(),
        "ts": ts,
        "sequence": 3,
        "line": 0,
        "kind": kind,
        "received_at": came,
        **dict.fromkeys(PRICES, 100.0),
        **{f"new_{name}": new for name in PRICES},
    }


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return open_small(write_project(tmp_path), monkeypatch)


def keep(lake: Lake, *rows: dict[str, Any]) -> None:
    lake.append("restatements", tables.frame("restatements", list(rows)))


def minutes(n: int) -> timedelta:
    return timedelta(minutes=n)


def test_changes_are_counted_by_instrument_and_session_and_the_largest_is_told(small: Workplace) -> None:
    keep(
        small.lake,
        restated(MONDAY, new=101.0),
        restated(MONDAY + minutes(5), new=98.0),
        restated(MONDAY + minutes(10), new=None, kind="withdrawn"),
        restated(MONDAY + minutes(15), new=100.5, kind="superseded"),
        restated(MONDAY + timedelta(days=1), new=None, kind="withdrawn"),
        restated(MONDAY, new=200.0, of=BTC),
    )
    counted = by_session(restated_bars(small.lake, "crypto_5m", since=CAME.date()))
    assert counted.select("instrument", "session", "changed", "withdrawn", "superseded").rows() == [
        (BTC, MONDAY.date(), 1, 0, 0),
        (ETH, MONDAY.date(), 2, 1, 1),
        (ETH, MONDAY.date() + timedelta(days=1), 0, 1, 0),
    ]
    assert counted["largest"].to_list() == [1.0, 0.02, None]


def test_only_what_came_since_the_day_counts_and_the_day_itself_does(small: Workplace) -> None:
    midnight = datetime(2017, 8, 1, tzinfo=UTC)
    keep(
        small.lake,
        restated(MONDAY, new=101.0, came=midnight - timedelta(microseconds=1)),
        restated(MONDAY + minutes(5), new=101.0, came=midnight),
        restated(MONDAY + minutes(10), new=101.0, came=midnight + timedelta(days=90)),
    )
    since = restated_bars(small.lake, "crypto_5m", since=midnight.date())
    assert since["ts"].to_list() == [MONDAY + minutes(5), MONDAY + minutes(10)]
    assert restated_bars(small.lake, "crypto_5m", since=midnight.date() + timedelta(days=1)).height == 1
    assert restated_bars(small.lake, "crypto_5m", since=midnight.date(), instrument=BTC).is_empty()


def test_a_volume_that_became_of_nothing_is_no_change_of_a_price(small: Workplace) -> None:
    row = restated(MONDAY, new=100.0)
    keep(small.lake, {**row, "volume": 0.0}, {**row, "ts": MONDAY + timedelta(days=1), "session": date(2017, 7, 18),
                                              "volume": 0.0, "new_volume": 0.0})  # fmt: skip
    assert by_session(small.lake.read("restatements"))["largest"].to_list() == [0.0, 0.0]


def test_a_volume_of_any_size_is_no_largest_change_and_is_counted(small: Workplace) -> None:
    row = restated(MONDAY, new=101.0)
    keep(
        small.lake,
        {**row, "volume": 0.001, "new_volume": 12_075.0},
        {**restated(MONDAY + minutes(5), new=100.0), "new_volume": None},
        {**restated(MONDAY + minutes(10), new=100.0), "volume": None, "new_volume": None},
        restated(MONDAY + minutes(15), new=None, kind="withdrawn"),
    )
    told = by_session(small.lake.read("restatements"))
    assert told.select("largest", "volumes").rows() == [(0.01, 2)]


def test_nothing_restated_is_a_sentence(
    small: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ended(monkeypatch, "--since", "2017-01-01") == 0
    assert capsys.readouterr().out == "no bar of crypto_5m was restated by what came since 2017-01-01\n"
    assert _ended(monkeypatch, "--since", "2017-01-01", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"dataset": "crypto_5m", "since": "2017-01-01", "sessions": []}
    assert small.project.datasets


def test_the_command_shows_sessions_and_of_one_instrument_every_bar_old_and_new(
    small: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(
        small.lake,
        restated(MONDAY, new=101.0),
        restated(MONDAY + minutes(5), new=None, kind="withdrawn"),
        restated(MONDAY, new=99.0, of=BTC),
    )
    assert _ended(monkeypatch, "--since", "2017-08-01") == 0
    sessions = capsys.readouterr().out
    assert BTC in sessions
    assert "1.0000%" in sessions
    assert "→" not in sessions

    assert _ended(monkeypatch, "--since", "2017-08-01", "--instrument", ETH) == 0
    bars = capsys.readouterr().out
    assert BTC not in bars
    assert "2017-07-17 00:00Z" in bars
    assert "100 → 101" in bars
    assert "100 → -" in bars

    assert _ended(monkeypatch, "--since", "2017-08-01", "--instrument", ETH, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    counted = {"changed": 1, "withdrawn": 1, "superseded": 0, "largest": 0.01, "volumes": 1}
    assert document["sessions"] == [{"instrument": ETH, "session": "2017-07-17", **counted}]
    assert [bar["new_close"] for bar in document["bars"]] == [101.0, None]
    assert _ended(monkeypatch, "--since", "2017-08-01", "--instrument", ETH.lower(), "--json") == 0
    assert json.loads(capsys.readouterr().out) == document
    assert document["bars"][0]["ts"] == "2017-07-17T00:00:00Z"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["crypto_5", "--since", "2017-08-01"], "no data set is called 'crypto_5': did you mean 'crypto_5m'?"),
        (["crypto_5m", "--since", "2017-08-01", "--instrument", "ETH"], "crypto_5m has no instrument 'ETH'"),
        (["crypto_5m", "--since", "yesterday"], "yesterday"),
    ],
)
def test_a_wrong_word_ends_in_a_sentence(
    small: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["gauntlet", "diff", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told


def _ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", "diff", "crypto_5m", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
