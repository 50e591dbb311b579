"""A strategy of signal classes: from YAML or from the builder one configuration, and every mistake with its place."""

from pathlib import Path

import pytest

from engine.strategy import decide
from quality.builder import Draft, grid, strategy
from quality.configuration import parse
from quality.errors import ConfigurationError
from quality.regimes import NAMES, RegimesPolicy
from quality.strategies import StrategyConfiguration
from resources.project import composed_definition, load
from tests.bar_frames import random_walk

ROOT = Path(__file__).parents[2]
KEY = "volume_breakout@1.0.0"
WRITTEN = (ROOT / "strategies/volume_breakout.yaml").read_text()


def built() -> Draft:
    """What stands in strategies/volume_breakout.yaml."""
    return (
        strategy("volume_breakout", author="founders", dataset="crypto_5m", timeframe="1h")
        .instruments({"tier": "core"})
        .signal("volume_spike", move=0.02, times=grid(3, least=2, most=4, step=1))
        .signal("breakout", length=grid(20, least=10, most=30, step=10))
        .size("risk_per_trade", risk=0.005, cap=0.2)
        .exits(stop={"atr": 2, "length": 14}, targets="default", time_stop_bars=48)
        .regimes("trend", min_confidence=0.6)
        .risk(max_drawdown=0.25, symbol_cooldown_active={"after_loss_seconds": 3600})
        .costs("bitfinex")
        .walk_forward(in_sample="60d", out_of_sample="20d", purge="1d", anchored=False, objective="sharpe")
    )


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, StrategyConfiguration, file="it.yaml")
    return str(caught.value).splitlines()


# One configuration, one hash


def test_the_builder_and_the_file_have_the_same_hashes() -> None:
    one, other = composed_definition(built().configuration()), load(ROOT).strategies[KEY]
    assert one.configuration == other.configuration
    assert (one.code_hash, one.configuration_hash) == (other.code_hash, other.configuration_hash)
    assert one.configuration.grid() == other.configuration.grid()


def test_what_the_builder_writes_is_read_as_what_it_built() -> None:
    draft = built().family("breakouts").order(type="limit", offset_bps=5).magnify("5m").fx(BTC="BTCUSD.BITFINEX")
    draft = draft.risk(max_drawdown=0.2)
    assert parse(draft.yaml(), StrategyConfiguration, file="it.yaml") == draft.configuration()
    assert draft.configuration().family == "breakouts"


def test_a_strategy_in_python_has_the_same_hash_from_the_builder() -> None:
    draft = (
        strategy("sma_cross", author="founders", dataset="crypto_5m", timeframe="1h")
        .params(fast=grid(20, least=10, most=30, step=10), slow=grid(100, least=60, most=140, step=20))
        .size("risk_per_trade", risk=0.005, cap=0.2)
        .exits(stop={"atr": 2, "length": 14}, targets="default")
        .costs("bitfinex")
        .walk_forward(in_sample="60d", out_of_sample="20d", purge="1d")
    )
    assert draft.configuration() == load(ROOT).strategies["sma_cross@1.0.0"].configuration


def test_a_draft_is_a_value_and_the_last_word_on_a_section_holds() -> None:
    before = built()
    after = before.size("units", quantity=1)
    assert before == built()
    assert after.configuration().size.model == "units"
    assert before.configuration().size.model == "risk_per_trade"


def test_the_builder_is_refused_in_the_words_of_the_file() -> None:
    with pytest.raises(ConfigurationError, match=r"strategies/volume_breakout\.yaml:\d+: unknown signal class"):
        built().signal("brakeout").configuration()


def test_the_order_in_which_classes_are_written_changes_nothing() -> None:
    configuration = built().configuration()
    turned = configuration.model_copy(update={"signals": dict(reversed(configuration.signals.items()))})
    one, other = composed_definition(configuration), composed_definition(turned)
    assert (one.code_hash, one.configuration_hash) == (other.code_hash, other.configuration_hash)
    frames = {"1h": random_walk("1h", 500, seed=2)}
    said = [decide(each.signal(**each.configuration.parameters()), frames, "1h") for each in (one, other)]
    assert said[0].equals(said[1])


def test_the_code_is_that_of_the_classes_named() -> None:
    draft = built()
    fewer = composed_definition(draft._said("signals", {"breakout": {}}).configuration())
    other_values = composed_definition(draft.signal("breakout", length=7).configuration())
    whole = composed_definition(draft.configuration())
    assert fewer.code_hash != whole.code_hash
    assert other_values.code_hash == whole.code_hash
    assert other_values.configuration_hash != whole.configuration_hash


def test_every_setting_is_part_of_a_trial_whether_it_is_given_or_not() -> None:
    configuration = built().configuration()
    assert configuration.parameters() == {
        "breakout_length": 20,
        "volume_spike_length": 20,  # its default
        "volume_spike_move": 0.02,
        "volume_spike_times": 3,
    }
    assert len(configuration.grid()) == 9
    assert configuration.parameters() in configuration.grid()
    assert {one["volume_spike_move"] for one in configuration.grid()} == {0.02}


# Mistakes


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(
            "breakout: {", "brakeout: {",
            "unknown signal class 'signals.brakeout': did you mean 'breakout'? Expected one of breakout, mean_reversion, "
            "trend_continuation, volume_spike", id="a class that does not exist",
        ),
        pytest.param(
            "move: 0.02", "mov: 0.02",
            "unknown key 'signals.volume_spike.mov': did you mean 'move'? Expected one of length, move, times",
            id="a setting that the class has not",
        ),
        pytest.param(
            "move: 0.02", "move: 0",
            "signals.volume_spike.move is 0, expected a finite number above 0", id="a setting out of bounds",
        ),
        pytest.param(
            "min: 10, max: 30, step: 10", "min: 0, max: 30, step: 10",
            "signals.breakout.length is 0 on its grid, expected a whole number of at least 2", id="a grid out of bounds",
        ),
        pytest.param(
            "move: 0.02", "move: fast",
            "signals.volume_spike.move is 'fast', expected a number", id="a setting that is no number",
        ),
        pytest.param(
            "breakout: {", "trend_continuation: {slow: 10}\n  breakout: {",
            "signals.trend_continuation: slow is 10, must be more than 20 (fast)", id="settings that contradict",
        ),
        pytest.param(
            "signals:\n  breakout: {length: {value: 20, min: 10, max: 30, step: 10}}",
            "signals:\n  breakout: {length: {value: 20, min: 10, max: 60, step: 1}}",
            "signals is a grid of 153 sets, expected at most 50: raise a step or narrow a range", id="too many sets",
        ),
        pytest.param(
            "size:", "params: {fast: {value: 1, min: 1, max: 1, step: 1}}\nsize:",
            "params is a mapping, expected no params beside signals: a value of theirs may be a grid of its own",
            id="parameters of no Python",
        ),
        pytest.param(
            "[trend]", "[trnd]",
            "regimes.allowed[0] is 'trnd': did you mean 'trend'? Expected one of bear, chop, trend", id="no such regime",
        ),
        pytest.param(
            "[trend]", "[bull]",
            "regimes.allowed[0] is 'bull', expected one of bear, chop, trend", id="a regime of another classifier",
        ),
        pytest.param(
            "size: {model: risk_per_trade, risk: 0.005, cap: 0.2}", "size: signal",
            "size is 'signal', expected a sizer: signal classes say no targets or weights", id="weights that nobody says",
        ),
        pytest.param(
            "stop: {atr: 2, length: 14}", "stop: signal",
            "exits.stop is 'signal', expected {pct}, or {atr, length}: signal classes say no distance",
            id="a distance that nobody says",
        ),
        pytest.param("[trend]", "[]", "regimes.allowed is a list, expected at least one", id="no regime at all"),
        pytest.param("[trend]", "[trend, trend]", "regimes.allowed is a list, expected each regime once", id="a regime twice"),
        pytest.param(
            "min_confidence: 0.6", "min_confidence: 60",
            "regimes.min_confidence is 60, expected at most 1", id="a confidence in percent",
        ),
        pytest.param(
            "min_confidence: 0.6", "classifier: tight_wild",
            "regimes.classifier is 'tight_wild': did you mean 'tight_wide'?", id="no such classifier",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_place(old: str, new: str, problem: str) -> None:
    line = WRITTEN.count("\n", 0, WRITTEN.index(old)) + 1
    (found,) = refused(WRITTEN.replace(old, new, 1))
    assert found.startswith(f"it.yaml:{line}: {problem}")


# The policy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("trend: {allowed_signals: [momentun]}", "trend.allowed_signals[0] is 'momentun': did you mean 'momentum'?"),
        ("tred: {allowed_signals: []}", "unknown key 'tred': did you mean 'trend'?"),
        ("trend: {size: 1}", "trend.allowed_signals is missing"),
        ("trend: {allowed_signals: [], size: -1}", "trend.size is -1, expected at least 0"),
        ("trend: {allowed_signals: [], cash: 1.5}", "trend.cash is 1.5, expected at most 1"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"schema: 1\n{text}\n", RegimesPolicy, file="regimes.yaml")
    assert str(caught.value).startswith(f"regimes.yaml:2: {problem}")


def test_the_contracts_own_example_is_a_policy() -> None:
    text = """\
schema: 1
trend: {allowed_signals: [momentum], size: 1.0}
chop: {allowed_signals: [mean_reversion], size: 0.5}
bear: {allowed_signals: [], size: 0}
"""
    assert set(parse(text, RegimesPolicy, file="regimes.yaml").sections) == {"trend", "chop", "bear"}


def test_the_shipped_policy_says_something_of_every_regime() -> None:
    assert set(load(ROOT).regimes) == set(NAMES)
    assert all(terms.why for terms in load(ROOT).regimes.values())
