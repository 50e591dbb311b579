"""What one file says of another: names that must exist, and values that must fit together.

Everything here yields refusals at places of the referring file; the file and the line are added by
whoever read it. A data set or a section that could not be read itself is known by name only: its
own problems are reported once, and what depends on it is not judged.
"""

from collections.abc import Collection, Iterator, Mapping

from engine.bars import timeframe_us
from engine.indicators.registry import INDICATORS, SINGLE
from engine.signals.registry import SIGNALS
from engine.walk_forward import windows
from quality.datasets import Dataset
from quality.declarations import Declared
from quality.documents import listed, nearest, unknown
from quality.errors import Refusal
from quality.policies import CalendarsPolicy, Costs
from quality.regimes import RegimeTerms
from quality.risk import Risk
from quality.strategies import MAX_WINDOWS, InUniverse, StrategyConfiguration, Tier, across

_DAYS_PER_YEAR = 365.25


def costs_for(dataset: Dataset, costs: Mapping[str, Costs]) -> list[str]:
    """The sections by which all instruments of `dataset` can be traded from its start on, in order of name."""
    tiers = {instrument.tier for instrument in dataset.instruments}
    return sorted(
        name
        for name, section in costs.items()
        if tiers <= section.half_spread_bps.keys() and section.known_from <= dataset.start
    )


def of_dataset(
    dataset: Dataset,
    *,
    sla_sections: Collection[str] | None,
    calendars: Collection[str] | None,
    costs: Mapping[str, Costs] | None,
) -> Iterator[Refusal]:
    """What a data set names elsewhere; None for what could not be read.

    Args:
        dataset: the one that refers.
        sla_sections: the names in `policies/sla.yaml`.
        calendars: those with `periods_per_year` in `policies/promotion.yaml`.
        costs: the sections of `policies/costs.yaml`, one of which has to cover all of its instruments.
    """
    if costs is not None:
        yield from _uncovered(dataset, costs)
    if sla_sections is not None and dataset.sla not in sla_sections:
        yield unknown(("sla",), dataset.sla, sla_sections)
    if calendars is not None and dataset.calendar not in calendars:
        wanted = f"a calendar with periods_per_year in policies/promotion.yaml ({', '.join(sorted(calendars))})"
        yield Refusal(("calendar",), wanted, nearest=nearest(dataset.calendar, calendars))
    for name, feature in dataset.features.items():
        at = ("features", name)
        if feature.indicator not in INDICATORS:
            yield unknown((*at, "indicator"), feature.indicator, INDICATORS)
            continue
        entry = INDICATORS[feature.indicator]
        if feature.output not in entry.outputs and not (feature.output is None and entry.outputs == SINGLE):
            found = "{key} is missing" if feature.output is None else "{key} is {value}"
            guess = None if feature.output is None else nearest(feature.output, entry.outputs)
            yield Refusal((*at, "output"), listed(entry.outputs), found, guess)
        for key, value in feature.parameters.items():
            if key not in entry.parameters:
                yield Refusal(
                    (*at, key), listed(entry.parameters), "unknown key '{key}'", nearest(key, entry.parameters)
                )
            elif not entry.parameters[key].fits(value):
                yield Refusal((*at, key), entry.parameters[key].allowed)


def of_source(dataset: Dataset, *, held: Mapping[str, Collection[str]]) -> Iterator[Refusal]:
    """What a data set asks of a source that has no more than `held`: ids of instruments by name of a data set."""
    if dataset.name not in held:
        guess = nearest(dataset.name, held)
        yield Refusal(("name",), f"{listed(held)}, which the source {dataset.source.kind} has", nearest=guess)
        return
    for index, instrument in enumerate(dataset.instruments):
        if instrument.id not in held[dataset.name]:
            yield unknown(("instruments", index, "id"), instrument.id, held[dataset.name])


def of_calendars(policy: CalendarsPolicy, *, calendars: Collection[str]) -> Iterator[Refusal]:
    """The calendars that corrections are written for; `calendars` as for `of_dataset`."""
    return (unknown((name,), name, calendars) for name in policy.corrections if name not in calendars)


def of_strategy(
    strategy: StrategyConfiguration,
    *,
    datasets: Mapping[str, Dataset | None],
    costs: Mapping[str, Costs] | None,
    risk: Mapping[str, Risk] | None,
    periods_per_year: Mapping[str, int] | None,
) -> Iterator[Refusal]:
    """What a strategy's YAML says of its data set, its costs and its guards; None for what could not be read."""
    dataset = datasets.get(strategy.dataset)
    section = (costs or {}).get(strategy.costs)
    if strategy.dataset not in datasets:
        yield unknown(("dataset",), strategy.dataset, datasets)
    if costs is not None and section is None:
        yield unknown(("costs",), strategy.costs, costs)
    if risk is not None and isinstance(strategy.risk, str):
        yield from _guarded(strategy, strategy.risk, risk)
    if dataset is not None:
        yield from _traded(strategy, dataset)
        yield from _converted(strategy, dataset)
        yield from _magnified(strategy, dataset)
    if dataset is not None and section is not None:
        yield from _charged(strategy, dataset, section)
        yield from _fed(strategy, dataset, section)
    if dataset is not None and periods_per_year is not None:
        yield from _windowed(strategy, dataset, periods_per_year)


def of_regimes(
    strategy: StrategyConfiguration, dataset: Dataset | None, regimes: Mapping[str, RegimeTerms] | None
) -> Iterator[Refusal]:
    """What a strategy's YAML says of regimes and of signal classes; None for what could not be read."""
    for name in strategy.signals:
        if SIGNALS[name].needs_volume and dataset is not None and dataset.volume == "none":
            wanted = f"a data set with volumes, which {dataset.name} has not"
            yield Refusal(("signals", name), wanted, found="{key} is switched on")
    if strategy.regimes is None:
        return
    for index, name in enumerate(strategy.regimes.allowed):
        if regimes is not None and name not in regimes:
            yield Refusal(
                ("regimes", "allowed", index), f"{listed(regimes)}, for which policies/regimes.yaml has terms"
            )
    timeframe = strategy.regimes.timeframe
    if timeframe is not None and dataset is not None:
        longer = [one for one in dataset.timeframes if timeframe_us(one) >= timeframe_us(strategy.timeframe)]
        if timeframe not in longer:
            wanted = f"{listed(longer)}, which {dataset.name} has and is not shorter than {strategy.timeframe}"
            yield Refusal(("regimes", "timeframe"), wanted, nearest=nearest(timeframe, longer))


def of_signal(strategy: StrategyConfiguration, signal: Declared) -> Iterator[Refusal]:
    """What a strategy's YAML says of the fields of its Python class."""
    fields = signal.parameters
    for name, parameter in strategy.params.items():
        at = ("params", name)
        if name not in fields:
            wanted = f"a field of {signal.name} ({', '.join(sorted(fields))})"
            yield Refusal(at, wanted, "unknown key '{key}'", nearest(name, fields))
        elif fields[name].type == "int" and not parameter.is_whole:
            yield Refusal(at, f"whole numbers, as {signal.name}.{name} is an int", "{key} has decimals")
    for name, field in fields.items():
        if field.required and name not in strategy.params:
            wanted = f"{{value: …, min: …, max: …, step: …}}, as {signal.name}.{name} has no default"
            yield Refusal(("params", name), wanted, "{key} is missing")


def _uncovered(dataset: Dataset, costs: Mapping[str, Costs]) -> Iterator[Refusal]:
    """Why no section of costs will do, said against the one that covers most of the instruments."""
    tiers = {instrument.tier for instrument in dataset.instruments}
    if costs_for(dataset, costs):
        return
    known = [set(costs[name].half_spread_bps) for name in sorted(costs)]
    covered = max(known, key=lambda names: sum(one.tier in names for one in dataset.instruments), default=set())
    for index, instrument in enumerate(dataset.instruments):
        if instrument.tier not in covered:
            wanted = f"{listed(covered)}: one section of policies/costs.yaml has to cover all instruments"
            yield Refusal(("instruments", index, "tier"), wanted, nearest=nearest(instrument.tier, covered))
    if tiers <= covered:
        first = min(section.known_from for section in costs.values() if tiers <= section.half_spread_bps.keys())
        yield Refusal(("start",), f"{first} or later, from when on policies/costs.yaml has fees for its instruments")


def _traded(strategy: StrategyConfiguration, dataset: Dataset) -> Iterator[Refusal]:
    if strategy.timeframe not in dataset.timeframes:
        wanted = f"{listed(dataset.timeframes)}, which {dataset.name} has"
        yield Refusal(("timeframe",), wanted, nearest=nearest(strategy.timeframe, dataset.timeframes))
    if isinstance(strategy.instruments, tuple):
        known = [instrument.id for instrument in dataset.instruments]
        for index, name in enumerate(strategy.instruments):
            if name not in known:
                yield unknown(("instruments", index), name, known)
    if isinstance(strategy.instruments, InUniverse) and strategy.instruments.universe not in dataset.universes:
        yield unknown(("instruments", "universe"), strategy.instruments.universe, dataset.universes)
    chosen = strategy.chosen_instruments(dataset)
    if not chosen and isinstance(strategy.instruments, Tier):
        tiers = {instrument.tier for instrument in dataset.instruments}
        yield unknown(("instruments", "tier"), strategy.instruments.tier, tiers)


def _guarded(strategy: StrategyConfiguration, name: str, risk: Mapping[str, Risk]) -> Iterator[Refusal]:
    if name not in risk:
        yield unknown(("risk",), name, risk)
    elif strategy.account.capital == "sleeves" and (guards := across(risk[name].guards)):
        yield Refusal(("risk",), f"capital: shared beside {listed(guards)}, as a sleeve holds one instrument")


def _converted(strategy: StrategyConfiguration, dataset: Dataset) -> Iterator[Refusal]:
    """Every currency that is not the account's has a series, and every series something to convert."""
    own, known = strategy.account.currency, {one.id: one for one in dataset.instruments}
    settled = {one.settle: one.id for one in strategy.chosen_instruments(dataset)}
    for currency, instrument in settled.items():
        if currency not in (own, *strategy.fx):
            series = f"fx: {{{currency}: an instrument of {dataset.name} that converts it}}"
            yield Refusal(("account", "currency"), f"{currency}, in which {instrument} settles, or {series}")
    for currency, series in strategy.fx.items():
        at = ("fx", currency)
        if currency not in settled or currency == own:
            yield Refusal(at, f"a currency other than {own} that something it trades settles in")
        elif series not in known:
            yield unknown(at, series, known)
        elif known[series].quote not in (own, currency):
            yield Refusal(at, f"an instrument quoted in {own} or {currency}, not {known[series].quote}")


def _magnified(strategy: StrategyConfiguration, dataset: Dataset) -> Iterator[Refusal]:
    if strategy.magnify is None:
        return
    longer = timeframe_us(strategy.timeframe)
    inside = [name for name in dataset.timeframes if timeframe_us(name) < longer and not longer % timeframe_us(name)]
    if strategy.magnify not in inside:
        known = listed(inside) if inside else "nothing"
        wanted = f"{known}, as these are the bars of {dataset.name} that {strategy.timeframe} is made of"
        yield Refusal(("magnify",), wanted, nearest=nearest(strategy.magnify, inside))


def _fed(strategy: StrategyConfiguration, dataset: Dataset, costs: Costs) -> Iterator[Refusal]:
    """What the run would need and the data set does not have."""
    for one in strategy.chosen_instruments(dataset):
        if one.perpetual:
            wanted = f"instruments without funding: {one.id} is perpetual, and {dataset.name} has no funding rates"
            yield Refusal(("instruments",), wanted)
        if one.leverage > 1 and costs.liquidate_on == "mark":
            wanted = (
                f"mark bars of {one.id}, which {dataset.name} does not have, for its leverage of {one.leverage:g}; or "
                f"costs with liquidate_on: last"
            )
            yield Refusal(("instruments",), wanted)
    slippage = costs.slippage
    measured = slippage.model == "volume_share" or getattr(slippage, "days", None) is not None
    if dataset.volume == "none" and measured and getattr(slippage, "volume", None) is None:
        yield Refusal(("costs",), f"slippage without volumes: {dataset.name} has none, which {slippage.model} needs")


def _charged(strategy: StrategyConfiguration, dataset: Dataset, costs: Costs) -> Iterator[Refusal]:
    tiers = {instrument.tier for instrument in strategy.chosen_instruments(dataset)} - costs.half_spread_bps.keys()
    if tiers:
        yield Refusal(
            ("costs",), f"a section with half_spread_bps for the tiers it trades, {', '.join(sorted(tiers))} too"
        )
    first = costs.known_from
    if first > dataset.start:
        yield Refusal(("costs",), f"a section whose fees start by {dataset.start} as {dataset.name} does, not {first}")


def _windowed(
    strategy: StrategyConfiguration, dataset: Dataset, periods_per_year: Mapping[str, int]
) -> Iterator[Refusal]:
    """Too many windows by the days of the data set; its calendar, which would count sessions, is slow to open."""
    if dataset.end is None or dataset.calendar not in periods_per_year:
        return
    days = (dataset.end - dataset.start).days + 1
    lengths = strategy.walk_forward
    n_windows = len(
        windows(
            int(days / _DAYS_PER_YEAR * periods_per_year[dataset.calendar]),
            in_sample=lengths.in_sample,
            out_of_sample=lengths.out_of_sample,
            purge=lengths.purge,
        )
    )
    if n_windows > MAX_WINDOWS:
        found = f"{{key}} is {{value}}, which makes about {n_windows} windows of {dataset.name}"
        yield Refusal(("walk_forward", "out_of_sample"), f"at most {MAX_WINDOWS}: raise it", found=found)
