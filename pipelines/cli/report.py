"""The report of a night: SLA verdicts, figures, decisions with every rule, where to look next.

What people wrote (names, reasons, paths) is printed as it is: rich would read `[words]` as markup.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.remarks import remarks
from pipelines.run_night import Done
from pipelines.workplace import Workplace
from quality.promotion import Decision, Verdict

WIDTH = 160
_PERCENT = {"net_return", "oos_net_return", "max_drawdown", "oos_windows_positive", "degradation"}
_FIGURES = ("net_return", "sharpe", "max_drawdown", "n_trades", "oos_net_return", "oos_sharpe", "deflated_sharpe")


def console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; where there is none (a file, a pipe), wide enough for every table."""
    made = Console(stderr=stderr, highlight=False, emoji=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, emoji=False, width=WIDTH)


def show(on: Console, workplace: Workplace, result: Mapping[str, Any], done: Done) -> None:
    if not result["new"]:
        on.print(f"\nNothing was new as of {result['as_of']}: everything below was computed before.")
    for dataset in result["datasets"]:
        on.print(_dataset(dataset))
        known, last = workplace.project.datasets[dataset["name"]], done.as_of[dataset["name"]]
        for remark in remarks(workplace, done, known, last=last, blocked=dataset["blocked"]):
            on.print(f"  {escape(remark)}", soft_wrap=True)
    if result["strategies"]:
        on.print(_strategies(result["strategies"]))
    for strategy in result["strategies"]:
        _decision(on, strategy)
    refused, of = result["controls"]["refused"], result["controls"]["of"]
    if of:
        on.print(f"\nNegative controls: {refused} of {of} refused, as all must be.")
    for problem in workplace.project.left_out:
        on.print(f"[red]left out[/red] {escape(str(problem))}", soft_wrap=True)
    for failure in done.failed:
        on.print(f"[red]failed[/red] {escape(failure.work)}: {escape(failure.reason)}")
    on.print(
        f"\n{len(result['run_ids'])} runs in {result['seconds']:.0f} s. Look next: [bold]make ui[/bold] for assets, checks and "
        f"equity curves; [bold]gauntlet stages[/bold], [bold]gauntlet ledger show[/bold]; "
        f"SQL in {escape(str(workplace.settings.warehouse))}",
        soft_wrap=True,
    )


def rows_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Every cell as it is written."""
    made = Table(*(escape(name) for name in header), box=box.SIMPLE, pad_edge=False)
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    return made


def verdicts_table(verdicts: tuple[Verdict, ...]) -> Table:
    """Every rule of a decision, passed or failed."""
    table = Table("", "rule", "seen", "limit", "why", box=box.SIMPLE, pad_edge=False)
    for verdict in verdicts:
        mark = "[green]passed[/green]" if verdict.passed else "[red]failed[/red]"
        limit = f"{verdict.bound.replace('_', ' ')} {verdict.limit:g}"
        seen = "not measured" if verdict.value is None else figure(verdict.value)
        table.add_row(mark, escape(verdict.metric), escape(seen), limit, escape(verdict.why))
    return table


def figure(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"


def _dataset(dataset: Mapping[str, Any]) -> Table:
    state = "[red]blocked[/red]" if dataset["blocked"] else "open"
    title = (
        f"\n{escape(dataset['name'])} as of {dataset['as_of']}: {state}. {dataset['sessions']:,} sessions, "
        f"{dataset['rows_accepted']:,} of {dataset['rows_received']:,} rows accepted, "
        f"{dataset['rows_quarantined']:,} quarantined, {dataset['new_rows']:,} new"
    )
    table = Table(
        "instrument",
        "lowest completeness",
        "sessions below SLA",
        "verdict",
        title=title,
        title_justify="left",
        box=box.SIMPLE,
    )
    for one in dataset["instruments"]:
        verdict = "[red]embargoed[/red]" if one["embargoed"] else "[green]passed[/green]"
        lowest = "-" if one["completeness_min"] is None else f"{one['completeness_min']:.2%}"
        table.add_row(escape(one["id"]), lowest, f"{one['sessions_below_sla']:,}", verdict)
    return table


def _strategies(strategies: list[Mapping[str, Any]]) -> Table:
    table = Table("strategy", "stage", *(name.replace("_", " ") for name in _FIGURES), title_justify="left", box=box.SIMPLE,
                  title="\nBacktest and walk-forward, after costs")  # fmt: skip
    for one in strategies:
        values = {**one["backtest"], **one["walk_forward"]}
        shown = [_percent(values[name]) if name in _PERCENT else figure(values[name]) for name in _FIGURES]
        table.add_row(escape(one["strategy"]), one["stage"], *shown)
    return table


def _decision(on: Console, strategy: Mapping[str, Any]) -> None:
    if strategy["decision"] is None:
        on.print(f"\n{escape(strategy['strategy'])}: not reviewed yet")
        return
    decision = Decision.model_validate(strategy["decision"])
    failed = sum(not verdict.passed for verdict in decision.verdicts)
    outcome = (
        "[green]approved[/green]"
        if decision.approved
        else f"[red]refused[/red], {failed} of {len(decision.verdicts)} rules failed"
    )
    on.print(f"\n{escape(decision.strategy)} {decision.from_} to {decision.to}: {outcome}")
    on.print(verdicts_table(decision.verdicts))


def _percent(value: float | str | None) -> str:
    return f"{value:.2%}" if isinstance(value, float) else figure(value)
