"""What one file says of another: names that must exist, and values that must fit together.

Everything here yields refusals at places of the referring file; the file and the line are added by
whoever read it. A data set or a section that could not be read itself is known by name only: its
own problems are reported once, and what depends on it is not judged.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from engine.indicators import INDICATORS
from engine.strategy import Strategy
from quality.configuration import Number
from quality.datasets import Dataset
from quality.documents import listed, nearest, unknown
from quality.errors import Refusal
from quality.policies import CalendarsPolicy, Costs
from quality.strategies import StrategyConfiguration


def of_dataset(
    dataset: Dataset, *, sla_sections: Collection[str] | None, calendars: Collection[str] | None
) -> Iterator[Refusal]:
    """What a data set names elsewhere; None for what could not be read.

    Args:
        dataset: the one that refers.
        sla_sections: the names in `policies/sla.yaml`.
        calendars: those with `periods_per_year` in `policies/promotion.yaml`.
    """
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
        parameters = INDICATORS[feature.indicator].parameters
        for key, value in feature.parameters.items():
            if key not in parameters:
                yield Refusal((*at, key), listed(parameters), "unknown key '{key}'", nearest(key, parameters))
            elif not _fits(value, parameters[key].kind, parameters[key].at_least):
                bound = parameters[key].at_least
                whole = parameters[key].kind is int
                wanted = f"a whole number of at least {bound}" if whole else f"a number above {bound}"
                yield Refusal((*at, key), wanted)


def of_calendars(policy: CalendarsPolicy, *, calendars: Collection[str]) -> Iterator[Refusal]:
    """The calendars that corrections are written for; `calendars` as for `of_dataset`."""
    return (unknown((name,), name, calendars) for name in policy.corrections if name not in calendars)


def of_strategy(
    strategy: StrategyConfiguration, *, datasets: Mapping[str, Dataset | None], costs: Mapping[str, Costs] | None
) -> Iterator[Refusal]:
    """What a strategy's YAML says of its data set and its costs; None for what could not be read."""
    dataset = datasets.get(strategy.dataset)
    section = (costs or {}).get(strategy.costs)
    if strategy.dataset not in datasets:
        yield unknown(("dataset",), strategy.dataset, datasets)
    if costs is not None and section is None:
        yield unknown(("costs",), strategy.costs, costs)
    if dataset is not None:
        yield from _traded(strategy, dataset)
    if dataset is not None and section is not None:
        yield from _charged(strategy, dataset, section)


def of_signal(strategy: StrategyConfiguration, signal: type[Strategy]) -> Iterator[Refusal]:
    """What a strategy's YAML says of the fields of its Python class."""
    fields = {field.name: field for field in dataclasses.fields(signal)}  # type: ignore[arg-type]  # made by Strategy
    for name, parameter in strategy.params.items():
        at = ("params", name)
        if name not in fields:
            wanted = f"a field of {signal.__name__} ({', '.join(sorted(fields))})"
            yield Refusal(at, wanted, "unknown key '{key}'", nearest(name, fields))
        elif fields[name].type in (int, "int") and not parameter.is_whole:
            yield Refusal(at, f"whole numbers, as {signal.__name__}.{name} is an int", "{key} has decimals")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in strategy.params:
            wanted = f"{{value: …, min: …, max: …, step: …}}, as {signal.__name__}.{name} has no default"
            yield Refusal(("params", name), wanted, "{key} is missing")


def _fits(value: Number, kind: type[int] | type[float], at_least: Number) -> bool:
    return isinstance(value, int) and value >= at_least if kind is int else value > at_least


def _traded(strategy: StrategyConfiguration, dataset: Dataset) -> Iterator[Refusal]:
    if strategy.timeframe not in dataset.timeframes:
        wanted = f"{listed(dataset.timeframes)}, which {dataset.name} has"
        yield Refusal(("timeframe",), wanted, nearest=nearest(strategy.timeframe, dataset.timeframes))
    if isinstance(strategy.instruments, tuple):
        known = [instrument.id for instrument in dataset.instruments]
        for index, name in enumerate(strategy.instruments):
            if name not in known:
                yield unknown(("instruments", index), name, known)
    chosen = strategy.chosen_instruments(dataset)
    if not chosen and not isinstance(strategy.instruments, tuple | str):
        tiers = {instrument.tier for instrument in dataset.instruments}
        yield unknown(("instruments", "tier"), strategy.instruments.tier, tiers)
    foreign = {
        instrument.settle: instrument.id for instrument in chosen if instrument.settle != strategy.account.currency
    }
    for currency, instrument in foreign.items():
        yield Refusal(("account", "currency"), f"{currency}, in which {instrument} settles")


def _charged(strategy: StrategyConfiguration, dataset: Dataset, costs: Costs) -> Iterator[Refusal]:
    tiers = {instrument.tier for instrument in strategy.chosen_instruments(dataset)} - costs.half_spread_bps.keys()
    if tiers:
        yield Refusal(
            ("costs",), f"a section with half_spread_bps for the tiers it trades, {', '.join(sorted(tiers))} too"
        )
    first = costs.fees[0].from_
    if first > dataset.start:
        yield Refusal(("costs",), f"a section whose fees start by {dataset.start} as {dataset.name} does, not {first}")
