"""What does not keep a table's contract does not enter it, and the message says which column and why."""

import polars as pl
import pytest

from quality.errors import ContractError
from quality.tables import TABLES, check, empty, frame, table
from tests.makers import GOOD, SESSION, START

BAR = {"dataset": "crypto", "instrument": "X", "session": SESSION, "ts": START, **GOOD, "sequence": 1, "filled": False}


def bars(*rows):
    return frame("bars", [{**BAR, **row} for row in rows])


def test_a_frame_that_keeps_the_contract_comes_back_with_the_columns_in_order():
    given = bars({}).select(*reversed(bars().columns))
    assert check("bars", given).equals(bars({}))


REFUSED = [
    pytest.param(bars({}).drop("close"), ["close"], id="a missing column"),
    pytest.param(bars({}).with_columns(pl.col("sequence").cast(pl.Int32)), ["sequence", "Int32"], id="a wrong type"),
    pytest.param(
        bars({}).with_columns(pl.col("ts").dt.replace_time_zone(None)), ["ts", "Datetime"], id="a stamp without a zone"
    ),
    pytest.param(bars({"instrument": None}), ["instrument", "null"], id="a null in the key"),
    pytest.param(bars({"close": None}), ["close", "null"], id="a null where a value must be"),
    pytest.param(bars({}, {}), ["dataset", "instrument", "ts"], id="a key twice"),
    pytest.param(bars({}).with_columns(mood=pl.lit(1.0)), ["mood"], id="a column that the table has not"),
]


@pytest.mark.parametrize(("given", "named"), REFUSED)
def test_a_frame_that_breaks_the_contract_is_refused_by_name(given, named):
    with pytest.raises(ContractError) as refused:
        check("bars", given)
    assert f"{given.height} rows do not keep the contract of table 'bars'" in str(refused.value)
    for name in named:
        assert name in str(refused.value)


def test_every_broken_column_is_named_not_the_first_alone():
    with pytest.raises(ContractError) as refused:
        check("bars", bars({"close": None, "instrument": None}).drop("volume"))
    assert all(name in str(refused.value) for name in ("close", "instrument", "volume"))


def test_what_may_be_null_may_be_null():
    given = frame(
        "quarantine", [{"dataset": "crypto", "instrument": "X", "session": SESSION, "sequence": 1, "line": 0}]
    )
    given = given.with_columns(rules=pl.lit(["null_ohlc"]))
    assert check("quarantine", given).equals(given)


def test_features_take_further_columns_after_their_own():
    key = {"dataset": ["crypto"], "instrument": ["X"], "session": [SESSION], "ts": [START]}
    given = pl.DataFrame({"atr_14": [1.0], **key}).cast({"ts": table("features").columns["ts"]})
    assert check("features", given).columns == [*table("features").columns, "atr_14"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_described_and_its_words_are_its_columns(name):
    about = table(name)
    assert about.about.endswith(".")
    assert {*about.key, *about.nullable, *about.partition_by} <= set(about.columns)
    assert not about.nullable & set(about.key)


def test_an_empty_frame_keeps_the_contract():
    assert check("fills", empty("fills")).height == 0


def test_a_table_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(
        ContractError,
        match=r"no table is called 'candles'; the tables are backtest_report, bars, candidates, certificates, ",
    ):
        table("candles")
