"""`gauntlet indicator NAME --bars FILE` and `gauntlet indicators`: one over any bar file, and which there are.

The file is read by its layout as `gauntlet check` reads it, and its bars are put in the order of time. A value stands
on every bar from the indicator's lookback on; strategies wait for its warm-up besides. A session is asked of the
calendar, and only for what begins anew with each. Neither Dagster nor a project is loaded.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import polars as pl

    from engine.indicators.registry import Indicator, Parameter
    from resources.bar_files.reading import BarFile
    from resources.bar_files.reading import Series as FileSeries

Label = Literal["open", "close"]
SHOWN_BARS = 20


def indicator(
    name: Annotated[str, typer.Argument(help="One of `gauntlet indicators`.")],
    *,
    bars: Annotated[Path, typer.Option(help="A bar file of any known layout.")],
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a parameter; once for each.")] = None,
    series: Annotated[str | None, typer.Option(help="Which one, where the file has several.")] = None,
    calendar: Annotated[
        str, typer.Option(help="Whose sessions: 24/7, FX or an exchange's code such as XNYS.")
    ] = "24/7",
    timeframe: Annotated[str | None, typer.Option(help="The bars' length, where it is not to be measured.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of the times, where they do not say: America/New_York.")] = None,
    label: Annotated[Label | None, typer.Option(help="What a time is of its bar, where the layout errs.")] = None,
    format_name: Annotated[str | None, typer.Option("--format", help="The layout, where it cannot be told.")] = None,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day, where times lack it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all bars as one JSON object.")] = False,
) -> None:
    """Compute one indicator over a bar file. Exit 0 done, 2 a name, a parameter or a file that cannot be used."""
    from engine.causal import Bars
    from engine.errors import UnknownNameError
    from engine.indicators.registry import INDICATORS, first_value, values
    from resources.bar_files.layouts import load_formats
    from resources.bar_files.reading import read_bar_file
    from resources.settings import settings

    if name not in INDICATORS:
        raise UnknownNameError("indicator", name, known=INDICATORS)
    entry = INDICATORS[name]
    parameters = _parameters(entry, param or [])
    read = read_bar_file(
        bars,
        format_name=format_name,
        timezone=timezone,
        label=label,
        timeframe=timeframe,
        day=day.date() if day else None,
        formats=load_formats(settings().project),
    )
    rows = _in_order(_chosen(read, series, bars).rows, bars)
    if "session" in entry.inputs:
        rows = _in_sessions(rows, calendar)
    columns = entry.columns(Bars(read.timeframe), **parameters)
    found = values(columns, rows)
    if as_json:
        typer.echo(json.dumps({"name": name, "outputs": found.to_dict(as_series=False)}))
    else:
        _show(entry, rows["ts"], found, {output: first_value(column) for output, column in columns.items()})


def indicators(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list with everything known.")] = False
) -> None:
    """List the indicators: what each computes, its outputs, and its parameters with what they are if left out."""
    from engine.indicators.registry import INDICATORS

    if as_json:
        typer.echo(json.dumps([document(entry) for entry in INDICATORS.values()], indent=2))
        return
    rows = [[entry.name, ", ".join(entry.outputs), _defaults(entry), entry.computes] for entry in INDICATORS.values()]
    _table(("name", "outputs", "parameters", "computes"), rows)


def document(entry: "Indicator") -> dict[str, Any]:
    """All that the registry knows of an indicator; lookback and warm-up are those of its defaults."""
    return {
        "name": entry.name,
        "computes": entry.computes,
        "inputs": list(entry.inputs),
        "outputs": [
            {
                "name": output,
                "unit": entry.units[output],
                "lookback": entry.lookback(output),
                "warm_up": entry.warm_up(output),
            }
            for output in entry.outputs
        ],
        "parameters": [
            {
                "name": name,
                "type": parameter.kind.__name__,
                "default": parameter.default,
                "allowed": parameter.allowed,
            }
            for name, parameter in entry.parameters.items()
        ],
        "nulls": entry.nulls,
        "anchor": entry.anchor,
        "source": entry.source,
    }


def _parameters(entry: "Indicator", given: Sequence[str]) -> dict[str, int | float]:
    from engine.errors import UnknownNameError

    parameters = {}
    what = f"parameter of {entry.name}"
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            wrong = f"{text!r} is not NAME=VALUE: write --param length=14"
            raise typer.BadParameter(wrong, param_hint="--param")
        if name not in entry.parameters:
            raise UnknownNameError(what, name, known=entry.parameters)
        if name in parameters:
            twice = f"{name} is given twice: write each once"
            raise typer.BadParameter(twice, param_hint="--param")
        parameters[name] = _number(entry.parameters[name], name, value)
    return parameters


def _number(parameter: "Parameter", name: str, text: str) -> int | float:
    from engine.errors import OutOfBoundsError

    try:
        value = parameter.kind(text)
    except ValueError as error:
        raise OutOfBoundsError(name, text, allowed=parameter.allowed) from error
    if not parameter.fits(value):
        raise OutOfBoundsError(name, value, allowed=parameter.allowed)
    return value


def _chosen(read: "BarFile", series: str | None, file: Path) -> "FileSeries":
    from quality.documents import nearest
    from resources.errors import UnchosenSeriesError

    if series is None and len(read.series) == 1:
        return read.series[0]
    by_name = {one.name: one for one in read.series if one.name is not None}
    if series not in by_name:
        guess = None if series is None else nearest(series, by_name)
        raise UnchosenSeriesError(str(file), series, by_name, guess)
    return by_name[series]


def _in_order(rows: "pl.DataFrame", file: Path) -> "pl.DataFrame":
    import polars as pl

    from resources.errors import UnorderableBarsError

    known = rows["ts"].drop_nulls()
    unreadable, repeated = rows.height - known.len(), known.len() - known.n_unique()
    if unreadable or repeated:
        raise UnorderableBarsError(str(file), unreadable=unreadable, repeated=repeated)
    numbers = pl.col("open", "high", "low", "close", "volume")
    return rows.sort("ts").with_columns(pl.when(numbers.is_finite()).then(numbers))


def _in_sessions(rows: "pl.DataFrame", name: str) -> "pl.DataFrame":
    from quality.bars import moments
    from resources.calendars import open_calendar

    calendar, days = open_calendar(name), rows["ts"].dt.date()
    if rows.is_empty():
        return rows.with_columns(session=days)
    begin, end = days[0] - timedelta(days=1), days[-1] + timedelta(days=1)
    closes = calendar.closes(max(begin, calendar.first), min(end, calendar.last))
    return rows.join_asof(
        moments(closes).select("session", "begin"), left_on="ts", right_on="begin", strategy="backward"
    )


def _show(entry: "Indicator", stamps: "pl.Series", found: "pl.DataFrame", lookbacks: Mapping[str, int]) -> None:
    import polars as pl

    newest = found.insert_column(0, stamps.alias("ts")).tail(SHOWN_BARS)
    rows = [
        [f"{row[0]:%Y-%m-%d %H:%M}", *("" if one is None else f"{one:.10g}" for one in row[1:])]
        for row in newest.rows()
    ]
    _table(tuple(newest.columns), rows)
    typer.echo(f"{entry.name}: {entry.computes}")
    units = [f"{output} ({entry.units[output]}) from bar {lookbacks[output] + 1:,} on" for output in entry.outputs]
    n_known = found.select(pl.exclude("ts").is_not_null().sum()).row(0)
    typer.echo(
        f"{', '.join(units)}; {', '.join(f'{n:,}' for n in n_known)} values on {found.height:,} bars, --json has all"
    )


def _defaults(entry: "Indicator") -> str:
    return ", ".join(f"{name}={parameter.default}" for name, parameter in entry.parameters.items())


def _table(headings: tuple[str, ...], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    terminal = Console(highlight=False, emoji=False)
    on = terminal if terminal.is_terminal else Console(highlight=False, emoji=False, width=160)
    table = Table(*headings, box=box.SIMPLE, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    on.print(table)
