"""`gauntlet backtest NAME`: one strategy over all that is held, at once; what came of it, and what it cost."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.look import Look

_SHARES = ("net_return", "max_drawdown", "profit_concentration", "ambiguous_share")


def backtest(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """What would it have made? Its file's parameters over all bars held. Counts as a trial; registers nothing."""
    from pipelines.cli.report import console
    from pipelines.look import look
    from pipelines.workplace import open_workplace

    progress = console(stderr=as_json)
    seen = look(open_workplace(), name, say=lambda line: progress.print(line, soft_wrap=True))
    if as_json:
        typer.echo(json.dumps(seen.document(), indent=2))
    else:
        _show(console(), seen)


def _show(on: "Console", seen: "Look") -> None:
    from rich.markup import escape

    from pipelines.cli.report import figure, rows_table

    told = seen.document()
    params = ", ".join(f"{name} {value:g}" for name, value in told["params"].items())
    on.print(
        f"\n{told['strategy']} on {told['dataset']}, {told['timeframe']}, {told['from']} to {told['to']}"
        + (f", with {params}" if params else ""),
        markup=False,
    )
    on.print(rows_table(("measure", "value"), [(_words(name), _shown(name, told[name])) for name in seen.metrics]))
    on.print(rows_table(("cost", "paid"), [(name, f"{value:,.2f}") for name, value in told["costs"].items()]))
    on.print(
        rows_table(
            ("path inside bars", "net result", "net return", "trades"),
            [
                (path.path, f"{path.net_result:,.2f}", f"{path.net_return:.2%}", f"{path.n_trades}")
                for path in seen.result.paths
            ],
        )
    )
    bears = seen.result.bears
    for about, found in (("break-even cost multiple", bears.break_even_cost_multiple), ("capacity", bears.capacity)):
        on.print(f"{about}: {found.reason if found.value is None else figure(found.value)}", markup=False)
    for sentence in _sentences(seen):
        on.print(escape(sentence), soft_wrap=True)


def _sentences(seen: "Look") -> list[str]:
    trials = f"trial {seen.n_trials} of the family {seen.family}"
    counted = (
        f"This look was counted: {trials}."
        if seen.is_new
        else f"This parameter set was looked at before, so nothing was counted: {seen.n_trials} trials of the family {seen.family}."
    )
    blocked = (
        [
            "The newest session of the data set is below its SLA for most instruments: a night would research nothing on it."
        ]
        if seen.is_blocked
        else []
    )
    beyond = "Nothing was registered. `gauntlet nightly` does that, walks it forward and judges it."
    return [*seen.result.warnings, *blocked, counted, beyond]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(name: str, value: float | str | None) -> str:
    from pipelines.cli.report import figure

    return f"{value:.2%}" if name in _SHARES and isinstance(value, float) else figure(value)
