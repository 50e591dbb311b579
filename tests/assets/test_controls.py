"""The negative control goes through the whole gate, and only the proof refuses it."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from assets import controls
from pipelines import night
from pipelines.code_location import build
from pipelines.workplace import Workplace, open_workplace
from quality.promotion import Decision
from resources.clock import now

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def equities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The checkout's daily equities from 2012 to 2018, ingested."""
    root = tmp_path_factory.mktemp("equities")
    shutil.copytree(CHECKOUT / "policies", root / "policies")
    (root / "strategies").mkdir()
    (root / "datasets").mkdir()
    text = (CHECKOUT / "datasets" / "us_equities_1d.yaml").read_text()
    text = text.replace("start: 1998-01-02", "start: 2012-01-03").replace("end: 2021-03-31", "end: 2018-12-31")
    (root / "datasets" / "us_equities_1d.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAUNTLET_PROJECT", str(root))
        patch.setenv("GAUNTLET_HOME", str(root / "home"))
        workplace = open_workplace()
        as_of = night.as_of_now(workplace, at=now())
        (market,) = night.due(workplace, as_of)[:1]
        job = build(workplace).resolve_job_def(market.job)
        assert job.execute_in_process(tags={**market.tags, **market.partition_tags}).success
        yield workplace


@pytest.fixture(scope="module")
def decision(equities: Workplace) -> Decision:
    return controls.judge("look_ahead", equities.project, equities.lake, last=date(2018, 12, 31))


def test_the_certificate_is_the_only_rule_that_the_cheater_breaks(decision: Decision) -> None:
    assert not decision.approved
    assert controls.failed_rules(decision) == ["look_ahead_certificate"]
    assert len(decision.verdicts) >= 13


def test_the_cheater_would_be_approved_if_nobody_proved_anything(decision: Decision) -> None:
    results = {one.metric: one.value for one in decision.verdicts}
    assert isinstance(results["oos_sharpe"], float)
    assert results["oos_sharpe"] > 5
    assert results["max_drawdown"] < 0.1


def test_the_record_says_that_the_cheater_was_refused_and_by_which_rule(decision: Decision) -> None:
    (row,) = controls.control_rows({"look_ahead": decision}).to_dicts()
    assert row["control"] == "look_ahead"
    assert row["refused"] is True
    assert row["failed_rules"] == ["look_ahead_certificate"]


def test_a_control_has_no_stage_and_no_trial(equities: Workplace) -> None:
    assert [entry.kind for entry in equities.ledger.store().entries()] == []
    assert equities.lake.read("trials").is_empty()


def test_an_approved_control_freezes_all_promotions_once(equities: Workplace, decision: Decision) -> None:
    approved = decision.model_copy(update={"approved": True})
    for _ in range(2):
        controls.freeze_if_approved({"look_ahead": approved}, equities.ledger)
    (entry,) = equities.ledger.store().entries()
    assert entry.kind == "frozen"
    assert entry.body["reason"] == "negative control approved: look_ahead"
