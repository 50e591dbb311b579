"""The asset asks, keeps and folds: restated actions are seen, and nothing is computed again for nothing."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets import inputs
from assets.corporate_actions import ask, corporate_actions, inputs_of
from quality.actions import ACTION
from quality.datasets import Dataset
from quality.policies import CalendarsPolicy
from resources.errors import NothingDeliveredError
from resources.lake import Lake
from resources.project import Project
from resources.sources.protocol import ACTIONS, Source
from resources.sources.registry import Sources
from resources.statements import Statement, keep
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, FakeSource, small_dataset

AT = datetime(2024, 1, 1, tzinfo=UTC)
DAY = date(2020, 1, 5)
LAST = date(2020, 1, 10)
DATASET = small_dataset(ONE, OTHER, end=LAST)
SPLIT = (ONE, DAY, "split", 2.0)
DIVIDEND = (OTHER, DAY, "dividend", 0.5)
_source: list[Source] = []


class FakeSources(Sources):
    """Opens the source that the test made last."""

    def open(self, dataset: Dataset) -> Source:
        assert dataset.name == DATASET.name
        return _source[-1]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    yield Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))
    _source.clear()


def stating(*actions: tuple[Any, ...], known: Sequence[str] = (ONE, OTHER)) -> None:
    """From now on the source states these, and has only the instruments `known`."""
    bars = {name: random_walk("1d", 10, seed=1) for name in known}
    _source.append(FakeSource(bars, actions=pl.DataFrame(list(actions), ACTIONS, orient="row")))


def fold_once(lake: Lake) -> dict[str, Any]:
    """Run the asset; its metadata by name."""
    project = Project({}, {}, {}, {}, CalendarsPolicy(schema=1).corrections, {}, {}, None)  # type: ignore[call-arg, arg-type]
    asset = corporate_actions(project, DATASET)
    done = dg.materialize([asset], resources={"lake": lake, "sources": FakeSources()}, raise_on_error=True)
    (materialization,) = [
        event.materialization
        for event in done.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["small", "corporate_actions"])
    ]
    return {
        name: [dict(record.data) for record in value.records]
        if isinstance(value, dg.TableMetadataValue)
        else value.value
        for name, value in materialization.metadata.items()
    }


def believed(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.read("corporate_actions").sort("instrument", "ex_date", "kind").select("instrument", *ACTION).rows()


def test_what_the_source_states_is_kept_and_believed(lake: Lake) -> None:
    stating(SPLIT, DIVIDEND)
    told = fold_once(lake)
    assert believed(lake) == [SPLIT, DIVIDEND]
    assert (told["rows"], told["added"], told["changed"], told["withdrawn"], told["set_aside"]) == (2, 2, 0, 0, 0)
    assert lake.read("raw_actions").select("source", "received_at").n_unique() == 1


@pytest.mark.slow
def test_the_same_again_changes_nothing_and_a_restatement_is_told(lake: Lake) -> None:
    stating(SPLIT, DIVIDEND)
    fold_once(lake)
    fold_once(lake)
    assert lake.read("raw_actions")["sequence"].sort().to_list() == [1, 2]

    stating((ONE, DAY, "split", 7.0))
    told = fold_once(lake)
    assert believed(lake) == [(ONE, DAY, "split", 7.0)]
    assert (told["added"], told["changed"], told["withdrawn"]) == (0, 1, 1)
    assert told["changes"] == [
        {"instrument": ONE, "ex_date": "2020-01-05", "kind": "split", "old": 2.0, "new": 7.0},
        {"instrument": OTHER, "ex_date": "2020-01-05", "kind": "dividend", "old": 0.5, "new": "-"},
    ]
    assert lake.read("raw_actions")["sequence"].n_unique() == 4, "what was stated before is still there"


def test_what_cannot_be_used_is_told_and_the_rest_is_believed(lake: Lake) -> None:
    stating(SPLIT, (OTHER, DAY, "merger", 1.0))
    told = fold_once(lake)
    assert believed(lake) == [SPLIT]
    (row,) = told["what was set aside"]
    assert (row["instrument"], row["reasons"]) == (OTHER, "unknown_kind")


def test_an_instrument_that_the_source_dropped_is_told_and_stops_no_other(lake: Lake) -> None:
    stating(SPLIT, DIVIDEND)
    fold_once(lake)
    stating((OTHER, DAY, "dividend", 0.7), known=[OTHER])
    told = fold_once(lake)
    assert believed(lake) == [SPLIT, (OTHER, DAY, "dividend", 0.7)], "what was stated of it before holds"
    assert told["unanswered"] == 1
    (row,) = told["what was not answered"]
    assert row["instrument"] == ONE
    assert "no instrument 'ONE.TEST'" in row["reason"]


def test_a_source_that_answers_for_nobody_fails_the_asset(lake: Lake) -> None:
    stating(known=[])
    with pytest.raises(NothingDeliveredError, match=r"ONE\.TEST.*all 2 instruments"):
        ask(lake, DATASET, _source[-1])


@pytest.mark.slow
def test_an_imported_statement_stands_beside_what_the_source_states(lake: Lake) -> None:
    stating(SPLIT)
    fold_once(lake)
    imported = pl.DataFrame([(LAST, "dividend", 0.1)], ACTION, orient="row")
    keep(lake, "small", [Statement(ONE, imported, "factor_file", "one.csv")], at=AT)
    fold_once(lake)
    assert believed(lake) == [SPLIT, (ONE, LAST, "dividend", 0.1)]


def test_the_fold_is_due_again_when_something_new_was_stated_or_a_session_has_passed(lake: Lake) -> None:
    stating(SPLIT)
    fold_once(lake)
    stated = lake.read("raw_actions")
    assert inputs.recorded(lake, "actions:small") == inputs_of(DATASET, stated, last=LAST)
    keep(lake, "small", [Statement(ONE, ACTION.to_frame(), "factor_file", "one.csv")], at=AT)
    now = inputs_of(DATASET, lake.read("raw_actions"), last=LAST)
    assert now != inputs_of(DATASET, stated, last=LAST)
    assert now != inputs_of(DATASET, lake.read("raw_actions"), last=LAST + timedelta(days=1))


def test_of_files_nobody_is_asked(lake: Lake) -> None:
    """Their actions come with their bars; a new session is no reason to fold them again."""
    files = small_dataset(ONE, source={"kind": "files"})
    assert inputs_of(files, lake.read("raw_actions"), last=DAY) == inputs_of(files, lake.read("raw_actions"), last=LAST)
