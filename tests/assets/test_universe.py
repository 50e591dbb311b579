"""The table of who may be traded: from the past alone, on real bars, with the dead in it."""

from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets import inputs
from assets.universe import choose, inputs_of, metadata_of
from quality import tables
from quality.configuration import parse
from quality.datasets import Dataset
from quality.universe import Universe, UniversePolicy
from resources.lake import Lake
from resources.sources.sample_source import SampleSource
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, small_dataset

CHECKOUT = Path(__file__).parents[2]
FIRST = date(2020, 1, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(40)]
LIQUID = Universe.model_validate(
    {
        "refresh": "weekly",
        "window_sessions": 5,
        "min_history_sessions": {"limit": 7, "why": "a test"},
        "min_completeness": {"limit": 0.9, "why": "a test"},
    }
)
DATASET = small_dataset(ONE, OTHER, universes=["liquid"])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))


def hold(lake: Lake, instrument: str, bars: pl.DataFrame, *, due: list[date]) -> None:
    """As if `bars` had been accepted of the sessions in which they were `due`."""
    common = {"dataset": "small", "instrument": instrument}
    made = {"session": pl.col("ts").dt.date(), "sequence": pl.lit(1, pl.Int64), "filled": pl.lit(value=False)}
    accepted = bars.with_columns(**made, **{key: pl.lit(value) for key, value in common.items()})
    lake.replace("bars", accepted.select(tables.table("bars").columns.keys()), **common)
    seen = set(accepted["session"])
    verdicts = [
        {**common, "session": day, "rule": "completeness", "limit": 0.9, "due": 1, "seen": int(day in seen)}
        | {"value": float(day in seen), "passed": day in seen, "enforced": True}
        for day in due
    ]
    lake.replace("sla_record", tables.frame("sla_record", verdicts), **common)


def chosen(lake: Lake, dataset: Dataset = DATASET, *, until: date = DAYS[-1]) -> pl.DataFrame:
    rows = choose(dataset, {"liquid": LIQUID}, lake, [day for day in DAYS if day <= until])
    return tables.check("universe", rows)


def members(rows: pl.DataFrame, instrument: str) -> list[date]:
    return rows.filter(pl.col("instrument") == instrument, pl.col("member"))["session"].to_list()


@pytest.mark.parametrize("day", [DAYS[0], DAYS[12], DAYS[20], DAYS[39]])
def test_everything_from_a_session_on_may_change_without_changing_its_row(lake: Lake, day: date) -> None:
    walk = random_walk("1d", 40, seed=1)
    hold(lake, ONE, walk, due=DAYS)
    before = chosen(lake).filter(pl.col("session") <= day)
    otherwise = walk.filter(pl.col("ts").dt.date() < day)
    invented = walk.filter(pl.col("ts").dt.date() >= day)[::3].with_columns(pl.col("close") * 7, pl.col("volume") * 1e6)
    split = pl.DataFrame([("small", ONE, day, "split", 9.0)], tables.table("corporate_actions").columns, orient="row")
    lake.replace("corporate_actions", split, dataset="small")
    hold(lake, ONE, pl.concat([otherwise, invented]), due=DAYS)
    assert_frame_equal(chosen(lake).filter(pl.col("session") <= day), before, check_exact=True)


def test_a_member_is_one_once_it_has_a_history_and_until_it_is_delisted(lake: Lake) -> None:
    """Seven sessions by the Monday of the 13th, as it is listed on the 3rd; the last is the 29th."""
    terms = DATASET.instruments[0].model_dump()
    dying = terms | {"listed": date(2020, 1, 3), "delisted": date(2020, 1, 29)}
    dataset = small_dataset(ONE, universes=["liquid"], instruments=[dying])
    alive = [day for day in DAYS if date(2020, 1, 3) <= day <= date(2020, 1, 29)]
    hold(lake, ONE, random_walk("1d", 40, seed=1).filter(pl.col("ts").dt.date().is_in(alive)), due=alive)
    rows = chosen(lake, dataset)
    assert members(rows, ONE) == [day for day in DAYS if date(2020, 1, 13) <= day <= date(2020, 1, 29)]
    why = dict(rows.select("session", "reasons").rows())
    assert why[date(2020, 1, 2)] == ["min_history_sessions", "min_completeness", "not_listed"]
    assert why[date(2020, 1, 12)] == ["min_history_sessions"]
    assert why[date(2020, 1, 30)] == ["not_listed"]


def test_every_instrument_has_a_row_in_every_session_also_without_a_bar(lake: Lake) -> None:
    hold(lake, ONE, random_walk("1d", 40, seed=1), due=DAYS)
    rows = chosen(lake)
    assert rows.height == 2 * len(DAYS)
    assert members(rows, OTHER) == []
    assert rows.filter(pl.col("instrument") == OTHER)["reasons"].to_list()[-1] == [
        "min_history_sessions",
        "min_completeness",
    ]


def test_what_it_is_chosen_from_is_hashed(lake: Lake) -> None:
    hold(lake, ONE, random_walk("1d", 40, seed=1), due=DAYS)
    held = inputs.held(lake, DATASET)

    def current(
        dataset: Dataset = DATASET, universe: Universe = LIQUID, last: date = DAYS[-1], closed: tuple[date, ...] = ()
    ) -> dict[str, str]:
        return inputs_of(dataset, {"liquid": universe}, held, corrections=[str(day) for day in closed], last=last)

    tagged = DATASET.instruments[0].model_copy(update={"tags": ("halal",)})
    assert current() == current()
    assert current(last=DAYS[-2]) != current()
    assert current(closed=(DAYS[3],)) != current()
    assert current(universe=LIQUID.model_copy(update={"window_sessions": 6})) != current()
    assert current(DATASET.model_copy(update={"instruments": (tagged, DATASET.instruments[1])})) != current()


def test_the_newest_session_is_shown_with_its_reasons(lake: Lake) -> None:
    hold(lake, ONE, random_walk("1d", 40, seed=1), due=DAYS)
    shown = metadata_of(chosen(lake))
    assert (shown["session"], shown["members of liquid"], shown["rows"]) == ("2020-02-09", 1, 80)
    table: Any = shown["newest"]
    one, other = (dict(record.data) for record in table.records)
    assert (one["reasons"], one["completeness"]) == ("", 1.0)
    assert (other["reasons"], other["completeness"]) == ("min_history_sessions, min_completeness", "not measured")


def shipped() -> MappingProxyType[str, Universe]:
    text = (CHECKOUT / "policies" / "universe.yaml").read_text()
    return MappingProxyType(parse(text, UniversePolicy, file="policies/universe.yaml").sections)


def test_the_shipped_universe_of_equities_has_large_ones_after_their_first_year(lake: Lake) -> None:
    """Real bars of four years: known by their history alone, and wide only where it is said so."""
    names = ("SPY.ARCX", "AAPL.XNAS")
    dataset = small_dataset(*names, universes=["liquid_equities"], start=date(1998, 1, 2))
    source = SampleSource("us_equities_1d")
    days: list[date] = []
    for instrument in dataset.instruments:
        (delivery,) = source.deliveries(instrument, first=date(1998, 1, 2), last=date(2001, 12, 31))
        days = delivery.rows["ts"].dt.date().to_list()
        hold(lake, instrument.id, delivery.rows, due=days)
    rows = tables.check("universe", choose(dataset, shipped(), lake, days))
    assert {name: members(rows, name)[0] for name in names} == dict.fromkeys(names, date(1999, 1, 4))
    grown = rows.filter(pl.col("session") >= date(1999, 1, 4))
    assert grown["member"].mean() > 0.95
    assert {reason for why in grown["reasons"] for reason in why} <= {"max_spread_bps"}
    (young,) = rows.filter(pl.col("session") == date(1998, 12, 31), pl.col("instrument") == names[0]).to_dicts()
    assert young["reasons"] == ["min_history_sessions"]
    assert (young["measured_on"], young["history_sessions"]) == (
        date(1998, 12, 1),
        252 - 22,
    )  # of the year, of December
