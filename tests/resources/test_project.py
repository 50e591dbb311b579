"""The project as shipped is whole; every way to break it is said with the file and the line."""

import shutil
from pathlib import Path

import pytest

from engine.strategy import Strategy
from quality.errors import ConfigurationError
from resources.errors import UnknownStrategyError
from resources.project import load, load_unattended, strategy_called

ROOT = Path(__file__).parents[2]
FOLDERS = ("datasets", "strategies", "policies")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def refused(root: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(root)
    return str(caught.value).splitlines()


def edit(root: Path, file: str, old: str, new: str) -> int:
    """Replace the first `old` in `file` by `new`; the line it stands on."""
    path = root / file
    text = path.read_text()
    at = text.index(old)
    path.write_text(text[:at] + new + text[at + len(old) :])
    return text.count("\n", 0, at) + 1


def test_the_shipped_project_is_whole() -> None:
    project = load(ROOT)
    assert set(project.datasets) == {"crypto_5m", "us_equities_1d"}
    assert set(project.strategies) == {
        "bollinger_reversion@1.0.0",
        "relative_momentum@1.0.0",
        "sma_cross@1.0.0",
        "smc_confluence@1.0.0",
        "time_series_momentum@1.0.0",
        "volume_breakout@1.0.0",
    }
    assert project.promotion.periods_per_year["24/7"] == 365


@pytest.mark.slow
def test_every_shipped_grid_is_small_holds_the_chosen_values_and_makes_strategies() -> None:
    for definition in load(ROOT).strategies.values():
        grid = definition.configuration.grid()
        assert 9 <= len(grid) <= 25
        assert definition.configuration.parameters() in grid
        assert all(isinstance(definition.signal(**parameters), Strategy) for parameters in grid)


def test_two_loads_agree_on_every_hash() -> None:
    first, second = load(ROOT), load(ROOT)
    for key, definition in first.strategies.items():
        assert definition.code_hash == second.strategies[key].code_hash
        assert definition.configuration_hash == second.strategies[key].configuration_hash


def test_a_comment_changes_no_hash_and_a_value_changes_one(root: Path) -> None:
    before = load(root).strategies["sma_cross@1.0.0"]
    edit(root, "strategies/sma_cross.yaml", "schema: 1", "schema: 1  # as ever")
    edit(root, "strategies/sma_cross.py", "class SmaCross", "# as ever\nclass SmaCross")
    same = load(root).strategies["sma_cross@1.0.0"]
    assert (same.code_hash, same.configuration_hash) == (before.code_hash, before.configuration_hash)
    edit(root, "strategies/sma_cross.yaml", "risk: 0.005", "risk: 0.006")
    other = load(root).strategies["sma_cross@1.0.0"]
    assert other.code_hash == before.code_hash
    assert other.configuration_hash != before.configuration_hash


def test_the_code_that_runs_is_the_code_that_is_hashed(root: Path) -> None:
    load(root)
    edit(root, "strategies/sma_cross.py", "fast: int = 20", "fast: int = 21")  # same size, same second
    assert load(root).strategies["sma_cross@1.0.0"].signal().fast == 21  # type: ignore[attr-defined]
    assert not list(root.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        pytest.param(
            "datasets/crypto_5m.yaml", "timeframe: 5m", "timefame: 5m",
            "unknown key 'timefame': did you mean 'timeframe'?", id="a misspelt key in a data set",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "name: crypto_5m", "name: crypto",
            "name is 'crypto', expected 'crypto_5m', as the file is called", id="a data set under another name",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "sla: crypto", "sla: cripto",
            "sla is 'cripto': did you mean 'crypto'? Expected one of crypto, equities", id="a service level nobody wrote",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "costs: bitfinex", "risk: cautios\ncosts: bitfinex",
            "risk is 'cautios': did you mean 'cautious'? Expected one of cautious, paced", id="guards nobody wrote",
        ),
        pytest.param(
            "policies/risk.yaml", "max_drawdown: {limit: 0.2", "max_drawdown: {limit: 20",
            "cautious.max_drawdown.limit is 20, expected at most 1", id="a guard in percent",
        ),
        pytest.param(
            "datasets/us_equities_1d.yaml", "calendar: XNYS", "calendar: XNYSE",
            "calendar is 'XNYSE': did you mean 'XNYS'? Expected a calendar with periods_per_year",
            id="a calendar without periods per year",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "indicator: atr", "indicator: art",
            "features.atr_14.indicator is 'art': did you mean 'atr'?", id="an indicator that does not exist",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "indicator: atr, length", "indicator: atr, lenght",
            "unknown key 'features.atr_14.lenght': did you mean 'length'?", id="a parameter the indicator has not",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "indicator: atr, length: 14", "indicator: atr, length: 1.5",
            "features.atr_14.length is 1.5, expected a whole number from 1 to 100000", id="a parameter of the wrong kind",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "indicator: atr, length: 14", "indicator: macd",
            "features.atr_14.output is missing, expected one of histogram, macd, signal", id="an output nobody chose",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "indicator: atr, length: 14", "indicator: macd, output: signl",
            "features.atr_14.output is 'signl': did you mean 'signal'?", id="an output the indicator has not",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "id: EOSUSD.BITFINEX", "id: EOSUSD.BITFNEX",
            "instruments[4].id is 'EOSUSD.BITFNEX': did you mean 'EOSUSD.BITFINEX'? Expected one of BTCUSD.BITFINEX, ",
            id="an instrument the source has not",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "out_of_sample: 20d", "out_of_sample: 5d",
            "walk_forward.out_of_sample is '5d', which makes about 24 windows of crypto_5m, expected at most 10: raise it",
            id="too many windows",
        ),
        pytest.param(
            "strategies/sma_cross.py", "import Bars, crossed_above, crossed_below", "import Bars, crossed_above, derived",
            "from engine.causal import derived, expected one of Bars, Column, bars_since, crossed_above, crossed_below",
            id="a door to the future",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "dataset: crypto_5m", "dataset: crypto_1m",
            "dataset is 'crypto_1m': did you mean 'crypto_5m'?", id="a data set nobody wrote",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "costs: bitfinex", "costs: bitfinx",
            "costs is 'bitfinx': did you mean 'bitfinex'? Expected one of bitfinex, us_equities", id="costs nobody wrote",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "costs: bitfinex", "costs: us_equities",
            "costs is 'us_equities', expected a section with half_spread_bps for the tiers it trades, core, small too", id="costs without the tier",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "timeframe: 1h", "timeframe: 2h",
            "timeframe is '2h', expected one of 15m, 1d, 1h, 4h, 5m, which crypto_5m has",
            id="a timeframe the data set has not",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "instruments: all", "instruments: [BTCUSD.BITFINX]",
            "instruments[0] is 'BTCUSD.BITFINX': did you mean 'BTCUSD.BITFINEX'?", id="an instrument the data set has not",
        ),
        pytest.param(
            "strategies/bollinger_reversion.yaml", "tier: core", "tier: cor",
            "instruments.tier is 'cor': did you mean 'core'? Expected one of core, small", id="a tier of no instrument",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "currency: USD", "currency: EUR",
            "account.currency is 'EUR', expected USD, in which XRPUSD.BITFINEX settles, or fx: {USD: an instrument of "
            "crypto_5m that converts it}", id="an account in another currency",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "fast: {value", "fats: {value",
            "unknown key 'params.fats': did you mean 'fast'? Expected a field of SmaCross (fast, slow)",
            id="a parameter the signal has not",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "fast: {value: 20, min: 10", "fast: {value: 20.0, min: 10",
            "params.fast has decimals, expected whole numbers, as SmaCross.fast is an int", id="decimals for a whole number",
        ),
        pytest.param(
            "strategies/sma_cross.yaml", "fast: {value: 20", "fast: {value: 25",
            "params.fast.value is 25, expected 20 or 30, on the grid from 10 by 10", id="a value off its grid",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "[liquid_crypto]", "[liquid_cripto]",
            "universes[0] is 'liquid_cripto': did you mean 'liquid_crypto'?", id="a universe nobody wrote",
        ),
        pytest.param(
            "datasets/crypto_5m.yaml", "{kind: sample}", "{kind: ccxt, exchange: bitfinx}",
            "source.exchange is 'bitfinx': did you mean 'bitfinex'?", id="an exchange that ccxt does not know",
        ),
        pytest.param(
            "policies/calendars.yaml", "schema: 1", "XNSY: []\nschema: 1",
            "XNSY is a list: did you mean 'XNYS'? Expected one of 24/7, CMES, FX, XHKG, XNYS", id="corrections of no calendar",
        ),
        pytest.param(
            "policies/promotion.yaml", "evidence_expires_days: 7", "evidence_expires_day: 7",
            "unknown key 'evidence_expires_day': did you mean 'evidence_expires_days'?", id="a misspelt key in a policy",
        ),
        pytest.param(
            "strategies/sma_cross.py", "class SmaCross(Strategy):", "class SmaCross(Strategy)", "SyntaxError: ", id="Python that is none",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_file_and_line(root: Path, file: str, old: str, new: str, problem: str) -> None:
    line = edit(root, file, old, new)
    (found,) = refused(root)
    assert found.startswith(f"{file}:{line}: {problem}")


def test_a_data_set_that_the_source_has_not_is_said_with_the_nearest_it_has(root: Path) -> None:
    text = (root / "datasets/crypto_5m.yaml").read_text()
    (root / "datasets/crypto_1m.yaml").write_text(text.replace("name: crypto_5m", "name: crypto_1m"))
    nearest = "did you mean 'crypto_5m'? Expected one of crypto_5m, us_equities_1d, which the source sample has"
    assert refused(root) == [f"datasets/crypto_1m.yaml:3: name is 'crypto_1m': {nearest}"]


def test_a_project_without_data_sets_is_none(root: Path) -> None:
    shutil.rmtree(root / "datasets")
    (root / "datasets").mkdir()
    assert refused(root)[0].startswith("datasets: the folder holds no .yaml file, expected at least one data set")


def test_a_data_set_without_an_end_is_not_asked_for_its_windows(root: Path) -> None:
    edit(root, "datasets/crypto_5m.yaml", "end: 2017-12-30", "")
    edit(root, "strategies/sma_cross.yaml", "out_of_sample: 20d", "out_of_sample: 1d")
    load(root)


def test_a_refused_signal_does_not_run(root: Path) -> None:
    line = edit(root, "strategies/sma_cross.py", "class SmaCross", "from os import getcwd\n1 / 0\nclass SmaCross")
    (problem,) = refused(root)
    assert problem.startswith(f"strategies/sma_cross.py:{line}: from os import …, expected one of ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("print(undefined)", "NameError: name 'undefined' is not defined, expected Python that runs"),
        ("raise SystemExit('bye')", "SystemExit: bye, expected Python that runs"),
    ],
)
def test_a_signal_runs_when_one_is_made_and_not_before(root: Path, line: str, said: str) -> None:
    at = edit(root, "strategies/sma_cross.py", "class SmaCross", f"{line}\nclass SmaCross")
    definition = load(root).strategies["sma_cross@1.0.0"]
    with pytest.raises(ConfigurationError) as caught:
        definition.signal()
    assert str(caught.value) == f"strategies/sma_cross.py:{at}: {said}"


@pytest.mark.parametrize("file", ["strategies/sma_cross.py", "strategies/sma_cross.yaml"])
@pytest.mark.slow
def test_where_nobody_is_there_to_mend_a_bad_strategy_is_left_out_alone(root: Path, file: str) -> None:
    (root / file).write_text("- broken: [")
    project = load_unattended(root)
    assert set(project.strategies) == set(load(ROOT).strategies) - {"sma_cross@1.0.0"}
    assert [problem.file for problem in project.left_out] == [file]
    assert "sma_cross" in project.names
    edit(root, "policies/sla.yaml", "block_share: 0.5", "block_share: half")
    with pytest.raises(ConfigurationError, match="block_share"):
        load_unattended(root)


def test_a_strategy_is_given_to_its_test_with_the_parameters_of_its_file(root: Path) -> None:
    edit(root, "strategies/sma_cross.yaml", "fast: {value: 20", "fast: {value: 30")
    assert strategy_called("sma_cross", root=root).fast == 30  # type: ignore[attr-defined]
    with pytest.raises(UnknownStrategyError, match="did you mean 'sma_cross'"):
        strategy_called("sma_cros", root=root)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "tier: large",
            "tier: larg",
            "instruments[0].tier is 'larg': did you mean 'large'? Expected one of large: one ",
        ),
        (
            "tier: large",
            "tier: core",
            "instruments[0].tier is 'core', expected one of large: one section of policies/cos",
        ),
        (
            "start: 1998",
            "start: 1989",
            "start is '1989-01-02', expected 1990-01-01 or later, from when on policies/costs",
        ),
    ],
    ids=["a tier of no section", "tiers of two sections", "a start before all fees"],
)
def test_a_data_set_that_no_costs_cover_is_refused(root: Path, old: str, new: str, problem: str) -> None:
    line = edit(root, "datasets/us_equities_1d.yaml", old, new)
    assert refused(root)[0].startswith(f"datasets/us_equities_1d.yaml:{line}: {problem}")


def test_fees_that_start_after_the_bars_are_said_where_they_are_asked_for(root: Path) -> None:
    edit(root, "policies/costs.yaml", "from: 2015-08-17", "from: 2017-08-17")
    line = edit(root, "strategies/sma_cross.yaml", "costs: bitfinex", "costs: bitfinex")
    expected = "a section whose fees start by 2017-07-01 as crypto_5m does, not 2017-08-17"
    assert f"strategies/sma_cross.yaml:{line}: costs is 'bitfinex', expected {expected}" in refused(root)


@pytest.mark.parametrize("name", ["sla", "costs", "calendars", "promotion", "universe"])
def test_a_missing_policy_is_named_and_nothing_that_needs_it_is_blamed(root: Path, name: str) -> None:
    (root / "policies" / f"{name}.yaml").unlink()
    (problem,) = refused(root)
    assert problem.startswith(f"policies/{name}.yaml: the file is missing")


def test_a_project_without_guards_is_whole_until_a_strategy_names_some(root: Path) -> None:
    (root / "policies/risk.yaml").unlink()
    before = load(root).strategies["sma_cross@1.0.0"]
    assert load(root).risk == {}
    assert before.configuration_hash == load(ROOT).strategies["sma_cross@1.0.0"].configuration_hash
    line = edit(root, "strategies/sma_cross.yaml", "costs: bitfinex", "risk: cautious\ncosts: bitfinex")
    (problem,) = refused(root)
    assert problem.startswith(
        f"strategies/sma_cross.yaml:{line}: risk is 'cautious', expected nothing, because none is known"
    )


def test_half_a_strategy_misses_the_other_file(root: Path) -> None:
    (root / "strategies/sma_cross.py").rename(root / "strategies/sma_cros.py")
    configuration, signal = refused(root)
    missing = "the file is missing beside strategies"
    assert configuration.startswith(f"strategies/sma_cros.yaml: {missing}/sma_cros.py: did you mean 'sma_cross.yaml'?")
    assert signal.startswith(f"strategies/sma_cross.py: {missing}/sma_cross.yaml: did you mean 'sma_cros.py'?")


COMPOSED = "strategies/volume_breakout.yaml"


def test_a_strategy_of_signal_classes_has_no_python_beside_it(root: Path) -> None:
    (root / "strategies/volume_breakout.py").write_text((root / "strategies/sma_cross.py").read_text())
    (problem,) = refused(root)
    assert problem.startswith("strategies/volume_breakout.py: strategies/volume_breakout.yaml has signals of its own, ")


def test_a_mistake_beside_signals_does_not_ask_for_python(root: Path) -> None:
    line = edit(root, COMPOSED, "costs: bitfinex", "cots: bitfinex")
    (problem,) = refused(root)
    assert problem.startswith(f"{COMPOSED}:{line}: unknown key 'cots': did you mean 'costs'?")


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        pytest.param(
            "policies/regimes.yaml", "trend: {", "bull_was: {",
            "unknown key 'bull_was'", id="a regime nobody tells",
        ),
        pytest.param(
            COMPOSED, "min_confidence", "timeframe: 5m, min_confidence",
            "regimes.timeframe is '5m', expected one of 1d, 1h, 4h, which crypto_5m has and is not shorter than 1h",
            id="regimes of shorter bars",
        ),
    ],
)  # fmt: skip
def test_a_mistake_about_regimes_is_said_with_its_file_and_line(
    root: Path, file: str, old: str, new: str, problem: str
) -> None:
    line = edit(root, file, old, new)
    assert refused(root)[0].startswith(f"{file}:{line}: {problem}")


def test_a_regime_without_terms_is_missed_where_it_is_traded(root: Path) -> None:
    edit(root, "policies/regimes.yaml", "trend: {", "# trend: {")
    (problem,) = refused(root)
    assert "regimes.allowed[0] is 'trend', expected one of bear, bull, chop, neutral, tight, wide, for which" in problem


def test_a_project_without_terms_of_regimes_is_whole_until_a_strategy_trades_in_some(root: Path) -> None:
    (root / "policies/regimes.yaml").unlink()
    assert "regimes.allowed[0] is 'trend', expected nothing, because none is known" in refused(root)[0]
    (root / COMPOSED).unlink()
    assert load(root).regimes == {}


def test_a_class_that_looks_at_volume_needs_a_data_set_with_some(root: Path) -> None:
    edit(root, DATA, "volume: traded", "volume: none")
    wanted = "signals.volume_spike is switched on, expected a data set with volumes, which crypto_5m has not"
    assert any(wanted in line for line in refused(root))


def test_a_signal_file_defines_one_strategy(root: Path) -> None:
    path = root / "strategies/sma_cross.py"
    path.write_text(path.read_text() + "\n\nclass Other(SmaCross):\n    pass\n")
    assert refused(root)[0].startswith("strategies/sma_cross.py: the file defines SmaCross, Other, expected one class")


def test_a_field_without_default_needs_a_parameter(root: Path) -> None:
    edit(root, "strategies/sma_cross.py", "fast: int = 20", "fast: int\n    third: int")
    (problem,) = refused(root)
    assert "params.third is missing" in problem


def test_a_file_that_would_be_overlooked_is_pointed_at(root: Path) -> None:
    (root / "datasets/us_equities_1d.yaml").rename(root / "datasets/us_equities_1d.yml")
    assert refused(root)[0] == "datasets/us_equities_1d.yml: the file is not read, expected the suffix .yaml"


def test_bytes_that_are_no_text_are_refused(root: Path) -> None:
    (root / "policies/sla.yaml").write_bytes(b"schema: 1\n\xff\n")
    assert refused(root) == ["policies/sla.yaml:2: a byte that is not UTF-8, expected a text file in UTF-8"]


def test_an_empty_folder_misses_everything(tmp_path: Path) -> None:
    found = refused(tmp_path)
    assert found[0].startswith("datasets: the folder is missing")
    assert len(found) == 8  # three folders, five policies


def test_mistakes_of_all_files_are_said_at_once(root: Path) -> None:
    edit(root, "strategies/sma_cross.py", "class SmaCross", "import nothing_of_this_name\nclass SmaCross")
    edit(root, "datasets/crypto_5m.yaml", "sla: crypto", "sla: cripto")
    edit(root, "policies/sla.yaml", "block_share: 0.5", "block_share: half")
    files = [line.split(":")[0] for line in refused(root)]
    assert files == ["policies/sla.yaml", "strategies/sma_cross.py"]  # the section's names are unknown until it is read


SMA, DATA = "strategies/sma_cross.yaml", "datasets/crypto_5m.yaml"
BTC = "{id: BTCUSD.BITFINEX, symbol: tBTCUSD, quote: USD, settle: USD, tick: 0.1, lot: 0.0001, min_notional: 10, tier: core"
KEY = "timeframe: 1h\n"


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        pytest.param(
            [(SMA, KEY, KEY + "magnify: 2h\n")],
            "magnify is '2h', expected one of 15m, 5m, as these are the bars of crypto_5m that 1h is made of",
            id="bars that are not shorter",
        ),
        pytest.param(
            [(DATA, BTC, BTC.replace("settle: USD", "settle: EUR"))],
            "account.currency is 'USD', expected EUR, in which BTCUSD.BITFINEX settles, or fx: {EUR: an instrument of "
            "crypto_5m that converts it}",
            id="a currency without a series",
        ),
        pytest.param(
            [(DATA, BTC, BTC.replace("settle: USD", "settle: EUR")), (SMA, KEY, KEY + "fx: {EUR: EURUSD.BITFINEX}\n")],
            "fx.EUR is 'EURUSD.BITFINEX': did you mean ",
            id="a series that is not there",
        ),
        pytest.param(
            [(SMA, KEY, KEY + "fx: {EUR: BTCUSD.BITFINEX}\n")],
            "expected a currency other than USD that something it trades settles in",
            id="a series that converts nothing",
        ),
        pytest.param(
            [(DATA, BTC, BTC + ", kind: linear, perpetual: true")],
            "BTCUSD.BITFINEX is perpetual, and crypto_5m has no funding rates",
            id="funding that nobody knows",
        ),
        pytest.param(
            [(DATA, BTC, BTC + ", kind: linear, perpetual: false, leverage: 3")],
            "mark bars of BTCUSD.BITFINEX, which crypto_5m does not have, for its leverage of 3; or costs with "
            "liquidate_on: last",
            id="marks that nobody knows",
        ),
        pytest.param(
            [
                (DATA, "volume: traded", "volume: none"),
                ("policies/costs.yaml", "limit_fill: trade", "slippage: {model: volume_share, impact: 0.1}\n  limit_fill: trade"),
            ],
            "expected slippage without volumes: crypto_5m has none, which volume_share needs",
            id="volumes that nobody knows",
        ),
        pytest.param(
            [(SMA, "capital: shared", "capital: sleeves"), (SMA, KEY, KEY + "risk: paced\n")],
            "expected capital: shared beside one of correlation_limit, max_open_positions, as a sleeve "
            "holds one instrument",
            id="a guard over instruments on sleeves",
        ),
    ],
)  # fmt: skip
def test_what_the_data_cannot_feed_is_refused_with_what_is_missing(root: Path, edits, said) -> None:
    for file, old, new in edits:
        edit(root, file, old, new)
    assert said in "\n".join(refused(root))


def test_leverage_on_last_prices_is_whole_where_the_costs_say_so(root: Path) -> None:
    edit(root, DATA, BTC, BTC + ", kind: linear, perpetual: false, leverage: 3")
    edit(root, "policies/costs.yaml", "limit_fill: trade_through", "limit_fill: trade_through\n  liquidate_on: last")
    assert load(root).datasets["crypto_5m"].instruments[0].leverage == 3
