"""`gauntlet check` as a person uses it: what it prints, how it ends, and what it does not load."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import main
from tests.sample_packing import SHARED

pytestmark = pytest.mark.slow

KEYS = [
    *("file", "format", "rows", "first", "last", "expected", "present", "missing", "completeness"),
    *("duplicates_identical", "duplicates_conflicting", "out_of_order", "off_grid", "off_session", "unparsable_ts"),
    *("null_ohlc", "non_positive_price", "high_below_body", "low_above_body", "negative_volume", "zero_volume"),
    *("stale_run_max", "max_gap_bars", "sessions", "sessions_below_sla", "passed"),
]
START = datetime(2024, 3, 4, tzinfo=UTC)
Ended = tuple[int, str, str]
Gauntlet = Callable[..., Ended]
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gauntlet:
    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["gauntlet", "check", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def written(path: Path, minutes: Sequence[int]) -> Path:
    """A CSV of five-minute bars."""
    bar = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}
    lines = [
        ",".join([f"{START + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}", *map(str, bar.values())])
        for minute in minutes
    ]
    path.write_text("\n".join(["ts,open,high,low,close,volume", *lines, ""]))
    return path


def documents(out: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(out)
    return read


def test_a_folder_is_told_by_its_name(check: Gauntlet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = check(".")
    assert (code, err.strip()) == (2, ". cannot be opened: it is a folder; name a file that is there and may be read")


def test_a_good_file_passes_and_its_document_has_the_keys_of_the_contract(check: Gauntlet, tmp_path: Path) -> None:
    file = written(tmp_path / "good.csv", range(0, 1440, 5))
    code, out, err = check(file, "--json")
    (document,) = documents(out)
    assert code == 0
    assert err == ""
    assert list(document) == KEYS
    assert document["file"] == str(file)
    assert (document["first"], document["last"]) == ("2024-03-04T00:00:00Z", "2024-03-04T23:55:00Z")
    assert (document["rows"], document["expected"], document["completeness"], document["passed"]) == (
        288,
        288,
        1.0,
        True,
    )


def test_a_file_below_the_sla_ends_with_1(check: Gauntlet, tmp_path: Path) -> None:
    code, out, _ = check(written(tmp_path / "gap.csv", [0, 5, 10, 60]), "--json")
    assert code == 1
    assert documents(out)[0]["max_gap_bars"] == 9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["no.csv"], "no.csv", id="a file that is not there"),
        pytest.param(["good.csv", "--calendar", "XNYZ"], "did you mean", id="a calendar that nobody knows"),
        pytest.param(["good.csv", "--timeframe", "five"], "five", id="a timeframe that is none"),
        pytest.param(["good.csv", "--timezone", "Mars/Base"], "Mars/Base", id="a zone that is none"),
        pytest.param(["good.csv", "--format", "mine"], "mine", id="a layout that nobody described"),
        pytest.param(["good.csv", "--sla", "cripto"], "did you mean 'crypto'", id="a section that the policy lacks"),
        pytest.param(["junk.csv"], "junk.csv", id="a file that holds no bars"),
    ],
)
def test_what_cannot_be_used_ends_with_2_and_a_sentence(
    check: Gauntlet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "good.csv", range(0, 60, 5))
    (tmp_path / "junk.csv").write_text("to be\nor not to be\n")
    code, _, err = check(*words, "--json")
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err


def test_a_file_that_cannot_be_used_does_not_hide_the_others(check: Gauntlet, tmp_path: Path) -> None:
    good = written(tmp_path / "good.csv", range(0, 1440, 5))
    code, out, err = check(tmp_path / "no.csv", good, "--json")
    assert code == 2
    assert [one["file"] for one in documents(out)] == [str(good)]
    assert "no.csv" in err


def test_without_a_calendar_nothing_is_due(check: Gauntlet, tmp_path: Path) -> None:
    code, out, _ = check(written(tmp_path / "gap.csv", [0, 5, 10, 60]), "--calendar", "none", "--json")
    (document,) = documents(out)
    assert code == 0
    assert [document[name] for name in ("expected", "present", "missing", "completeness")] == [None] * 4
    assert (document["sessions"], document["sessions_below_sla"], document["off_grid"]) == (0, 0, 0)


def test_bars_of_a_week_are_counted_without_a_calendar(check: Gauntlet, tmp_path: Path) -> None:
    code, out, _ = check(written(tmp_path / "weeks.csv", [7 * 1440 * week for week in range(5)]), "--json")
    assert code == 0
    assert documents(out)[0]["expected"] is None


def test_a_label_moves_the_stamps_and_a_zone_too(check: Gauntlet, tmp_path: Path) -> None:
    file = written(tmp_path / "local.csv", range(0, 60, 5))
    _, out, _ = check(file, "--label", "close", "--timezone", "America/New_York", "--json")
    assert documents(out)[0]["first"] == "2024-03-04T04:55:00Z"


def test_a_section_of_the_policy_judges_instead_of_the_usual_share(check: Gauntlet, tmp_path: Path) -> None:
    stray = written(tmp_path / "stray.csv", sorted([*range(0, 1440, 5), 7]))
    assert check(stray, "--json")[0] == 1, "a stamp off the grid"
    assert check(stray, "--json", "--sla", "crypto")[0] == 0, "one refused row of 289 is within the limit"
    gaps = written(tmp_path / "gaps.csv", [*range(0, 600, 5), *range(700, 1440, 5)])
    code, out, _ = check(gaps, "--json", "--sla", "crypto")
    assert (code, documents(out)[0]["sessions_below_sla"]) == (1, 1)


def test_the_report_names_what_is_wrong(check: Gauntlet, tmp_path: Path) -> None:
    file = written(tmp_path / "gap.csv", [0, 5, 5, 10, 60])
    file.write_text(file.read_text().replace("01:00:00,10.0,12.0,9.0", "01:00:00,10.0,12.0,10.5"))
    code, out, err = check(file)
    assert code == 1
    assert err == ""
    for words in ("gap.csv", "failed", "9 bars missing", "1 rows that repeat", "1 lows above their open or close"):
        assert words in out


def test_what_looks_wrong_is_said_beside_the_json(check: Gauntlet, tmp_path: Path) -> None:
    minutes = range(0, 1440, 5)
    file = written(tmp_path / "glitch.csv", minutes)
    file.write_text(file.read_text().replace("00:00:00,10.0,12.0", "00:00:00,10.0,1200.0", 1))
    code, out, err = check(file, "--json")
    assert code == 0
    assert documents(out)[0]["passed"]
    assert f"{file}: 1 bar with a high of more than 10 times its low" in err
    assert "looks wrong: " in check(file)[1]


def test_a_volume_that_is_no_number_is_said_and_changes_no_count(check: Gauntlet, tmp_path: Path) -> None:
    file = written(tmp_path / "text.csv", range(0, 1440, 5))
    file.write_text(file.read_text().replace("11.0,5.0", "11.0,plenty", 1).replace("11.0,5.0", "11.0,inf", 1))
    code, out, err = check(file, "--json")
    assert (code, list(documents(out)[0])) == (0, KEYS)
    assert f"{file}: 2 rows have a volume that is no number" in err


def test_bars_of_a_time_to_come_are_said(check: Gauntlet, tmp_path: Path) -> None:
    file = written(tmp_path / "later.csv", range(0, 1440, 5))
    file.write_text(file.read_text().replace("2024-", "2099-"))
    code, _, err = check(file, "--json")
    assert code == 0
    assert f"{file}: 288 of 288 rows are of times after now" in err


def test_rows_that_contradict_each_other_are_told_with_the_key_that_keeps_the_last(
    check: Gauntlet, tmp_path: Path
) -> None:
    file = written(tmp_path / "twice.csv", sorted([*range(0, 1440, 5), 5]))
    file.write_text(file.read_text().replace("00:05:00,10.0", "00:05:00,9.5", 1))
    code, _, err = check(file, "--json")
    assert code == 1
    assert "1 row contradicts an earlier one" in err
    assert "`on_conflict: keep_last`" in err
    file.write_text(file.read_text().replace("00:05:00,9.5", "00:05:00,10.0", 1))
    assert "on_conflict" not in check(file, "--json")[2]


@needs_shared_data
def test_a_file_of_several_series_has_a_document_each(check: Gauntlet) -> None:
    _, out, _ = check(SHARED / "futures/lean_ES_1m.parquet", "--calendar", "CMES", "--json")
    read = documents(out)
    assert [one["series"] for one in read] == [
        *("201312", "201403", "201406", "201409", "201412", "202003", "202006", "202009")
    ]
    assert [list(one) for one in read] == [[*KEYS[:2], "series", *KEYS[2:]]] * 8
    assert [one["rows"] for one in read] == [16_673, 5_116, 442, 6, 9, 1_425, 272, 5]


@needs_shared_data
def test_files_given_together_are_compared(check: Gauntlet) -> None:
    sides = [SHARED / f"forex/GBPUSD_1m_{side}_2012-02.csv.gz" for side in ("bid", "ask")]
    code, _, err = check(*sides, "--calendar", "FX", "--json")
    assert code == 1, "a session of each is below 99 %"
    assert "the bid closes above the ask in 347 of 30,117 bars" in err


def test_neither_dagster_nor_a_project_is_loaded(tmp_path: Path) -> None:
    written(tmp_path / "good.csv", range(0, 1440, 5))
    program = (
        "import sys; from pipelines.cli.main import main\n"
        "sys.argv = ['gauntlet', 'check', 'good.csv', '--json']\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "GAUNTLET_PROJECT": str(empty), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert documents(done.stdout)[0]["passed"]
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {
        "dagster",
        "numba",
        "pandera",
        "exchange_calendars",
        "great_expectations",
        "ccxt",
        "httpx",
        "pandas",
    }
