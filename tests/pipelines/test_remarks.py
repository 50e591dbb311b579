"""What the report of a night says of a data set beside its verdicts: rows that add up, refused files, what changed."""

from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from pipelines.cli.report import show
from pipelines.remarks import Account, account, remarks
from pipelines.run_night import Done, Refused
from pipelines.summary import summary
from pipelines.workplace import Workplace
from quality import tables
from quality.bars import judge
from quality.datasets import Dataset
from resources.calendars import open_calendar
from tests.small_project import DATASET, LAST, open_small, write_project

BTC = "BTCUSD.BITFINEX"
DAY = date(2017, 7, 3)
NOTHING = Done({"crypto_5m": DAY}, [], [], {}, 0.0)
OPEN = datetime(2017, 7, 3, tzinfo=UTC)
LABELS = {"dataset": "crypto_5m", "instrument": BTC}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return open_small(write_project(tmp_path), monkeypatch)


@pytest.fixture
def dataset(small: Workplace) -> Dataset:
    return small.project.datasets["crypto_5m"]


def bar(minute: int, *, sequence: int = 1, **changed: float | datetime | None) -> dict[str, Any]:
    prices = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}
    return {**LABELS, "sequence": sequence, "ts": OPEN + timedelta(minutes=minute), **prices, **changed}


def hold(small: Workplace, *rows: dict[str, Any], on_conflict: Any = "refuse") -> None:
    """Rows received in receipts that each speak for the one session, and what they were judged to be."""
    lake, calendar = small.lake, open_calendar("24/7")
    raw = tables.frame("raw_bars", [{"line": line, **row} for line, row in enumerate(rows, start=1)])
    spoken = {
        "first_session": DAY,
        "last_session": DAY,
        "source": "sample",
        "origin": "a test",
        "content": "a",
        "n_rows": 1,
    }
    receipts = tables.frame(
        "receipts",
        [
            {**LABELS, **spoken, "sequence": n, "received_at": OPEN + timedelta(days=n)}
            for n in sorted({row["sequence"] for row in rows})
        ],
    )
    lake.append("raw_bars", raw)
    lake.append("receipts", receipts)
    due, closes = calendar.due(DAY, DAY, "5m"), calendar.closes(DAY, DAY)
    of_rows = raw.drop("dataset", "instrument")
    judged = judge(of_rows, receipts, due, closes, first=DAY, last=DAY, timeframe="5m", on_conflict=on_conflict)
    own = [pl.lit(value).alias(name) for name, value in LABELS.items()]
    lake.append("bars", judged.accepted.with_columns(*own, filled=pl.lit(value=False)))
    lake.append("quarantine", judged.quarantined.with_columns(*own))


def said(small: Workplace, dataset: Dataset, done: Done = NOTHING, *, blocked: bool = False) -> list[str]:
    return list(remarks(small, done, dataset, last=DAY, blocked=blocked))


def test_the_rows_that_were_received_add_up(small: Workplace, dataset: Dataset) -> None:
    hold(
        small,
        bar(0),
        bar(5),
        bar(5),  # identical
        bar(10, high=1.0),  # refused
        bar(15, ts=None),  # refused
        bar(0, sequence=2, close=10.5),  # replaces the first
        bar(5, sequence=2),  # repeats it
        bar(20, sequence=2),
    )
    seen = account(small, dataset, DAY)
    assert seen == Account(received=8, accepted=3, quarantined=2, twins=1, replaced=2)
    (sentence,) = said(small, dataset)
    assert sentence.startswith(
        "of 8 rows received 3 are accepted, 2 quarantined, 1 identical to or superseded by another"
    )
    assert sentence.endswith(" 2 replaced by newer receipts")


def test_superseded_rows_are_twins_of_their_receipt(small: Workplace, dataset: Dataset) -> None:
    hold(small, bar(0), bar(0, close=10.5), bar(0, close=10.7), on_conflict="keep_last")
    assert account(small, dataset, DAY) == Account(received=3, accepted=1, quarantined=0, twins=2, replaced=0)


def test_nothing_received_is_nothing(small: Workplace, dataset: Dataset) -> None:
    assert account(small, dataset, DAY) == Account(0, 0, 0, 0, 0)


def test_refused_files_are_named_with_the_folder_of_their_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path)
    (root / "datasets" / "dropped.yaml").write_text(
        DATASET.replace("crypto_5m", "dropped").replace("kind: sample", "kind: files")
    )
    small = open_small(root, monkeypatch)
    refused = [Refused("dropped", f"file {n}.csv", "why") for n in range(12)]
    done = NOTHING._replace(refused=[Refused("other", "elsewhere.csv", "why"), *refused])
    _, sentence = said(small, small.project.datasets["dropped"], done)
    assert sentence.startswith("12 of its files were refused: file 0.csv, file 1.csv, ")
    assert "file 9.csv and 2 more; why, says <name>.why.txt beside each in " in sentence
    assert sentence.endswith("/inbox/dropped/refused")
    assert "elsewhere.csv" not in sentence


def test_restated_bars_and_jumps_of_the_newest_session_are_counted(small: Workplace, dataset: Dataset) -> None:
    verdict = {
        "dataset": "crypto_5m",
        "rule": "jump",
        "value": 2.0,
        "limit": 1.0,
        "due": 288,
        "seen": 1,
        "enforced": False,
    }
    judged = [(DAY, BTC, False), (DAY - timedelta(days=1), BTC, False), (DAY, "ETHUSD.BITFINEX", True)]
    rows = [{**verdict, "session": day, "instrument": one, "passed": passed} for day, one, passed in judged]
    small.lake.append("sla_record", tables.frame("sla_record", rows))
    _, restated, jumped = said(small, dataset, NOTHING._replace(restated={"crypto_5m": 1_234}))
    assert restated == "1,234 bars were restated: `gauntlet diff crypto_5m --since DAY` shows them"
    assert jumped == "1 of its instruments jump in the newest session, 2017-07-03: see the check `jump`"


def test_where_contradictions_block_the_report_names_the_key_that_keeps_the_last(
    small: Workplace, dataset: Dataset
) -> None:
    hold(small, bar(0), bar(0, close=10.5))
    (_, sentence) = said(small, dataset, blocked=True)
    assert sentence.startswith("2 rows of 2017-07-03 contradict another of the same receipt and time")
    assert "`on_conflict: keep_last` in datasets/crypto_5m.yaml" in sentence
    assert len(said(small, dataset)) == 1
    assert len(said(small, dataset.model_copy(update={"on_conflict": "keep_last"}), blocked=True)) == 1


def test_the_report_says_it_below_the_data_set(small: Workplace) -> None:
    hold(small, bar(0), bar(5))
    done = NOTHING._replace(as_of={"crypto_5m": LAST})
    out = StringIO()
    on = Console(file=out, width=160)
    show(on, small, summary(small, done), done)
    assert "  of 2 rows received 2 are accepted, 0 quarantined" in out.getvalue()
