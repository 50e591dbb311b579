"""`gauntlet diff DATASET --since DAY`: what a source changed of the past."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import polars as pl

_VALUES = ("open", "high", "low", "close", "volume")


def diff(
    dataset: Annotated[str, typer.Argument(help="The name of a data set.")],
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Receipts that came on this day or later.")],
    instrument: Annotated[str | None, typer.Option(help="Only this one, bar by bar, old and new.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What the source changed, took back or sent twice, by instrument and session."""
    from pipelines.diff import by_session, restated_bars
    from pipelines.run_night import named, require_known
    from pipelines.workplace import open_workplace

    workplace = open_workplace()
    require_known(workplace, [dataset])
    if instrument is not None:
        instrument = named(workplace, dataset, instrument)[1].id
    bars = restated_bars(workplace.lake, dataset, since=since.date(), instrument=instrument)
    sessions = by_session(bars)
    if as_json:
        document = {"dataset": dataset, "since": str(since.date()), "sessions": _rows(sessions)}
        typer.echo(json.dumps(document | ({"bars": _rows(bars)} if instrument else {}), indent=2))
    elif bars.is_empty():
        of = f"{instrument} of {dataset}" if instrument else dataset
        typer.echo(f"no bar of {of} was restated by what came since {since.date()}")
    else:
        _print_sessions(sessions)
        if instrument is not None:
            _print_bars(bars)


def _rows(frame: "pl.DataFrame") -> list[dict[str, Any]]:
    from quality.evidence import encode

    return [
        {name: encode(value) if isinstance(value, float) else _plain(value) for name, value in row.items()}
        for row in frame.iter_rows(named=True)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value if isinstance(value, int | str) or value is None else str(value)


def _print_sessions(sessions: "pl.DataFrame") -> None:
    from pipelines.cli.report import console, rows_table
    from pipelines.diff import KINDS

    rows = [
        (
            row["instrument"],
            str(row["session"]),
            *(f"{row[kind]:,}" for kind in KINDS),
            _share(row["largest"]),
            f"{row['volumes']:,}",
        )
        for row in sessions.iter_rows(named=True)
    ]
    header = ("instrument", "session", *KINDS, "largest change of a price", "other volumes")
    console().print(rows_table(header, rows))


def _print_bars(bars: "pl.DataFrame") -> None:
    from pipelines.cli.report import console, rows_table

    rows = [
        (f"{row['ts']:%Y-%m-%d %H:%M}Z", row["kind"], str(row["sequence"]), *(_change(row, name) for name in _VALUES))
        for row in bars.iter_rows(named=True)
    ]
    console().print(rows_table(("bar", "kind", "receipt", *_VALUES), rows))


def _change(row: dict[str, Any], name: str) -> str:
    """`old → new`, or the one value where nothing changed."""
    old, new = row[name], row[f"new_{name}"]
    if row["kind"] == "withdrawn":
        return f"{_number(old)} → -"
    return _number(old) if old == new else f"{_number(old)} → {_number(new)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4%}"
