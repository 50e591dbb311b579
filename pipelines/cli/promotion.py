"""`gauntlet stages`, `review`, `ledger show`, `ledger verify`: where strategies stand, and why."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from pipelines.workplace import Workplace
    from resources.project import StrategyDefinition

Stage = Literal["paper", "live"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ledger = typer.Typer(help="The append-only record of every decision.", no_args_is_help=True)


def stages(*, as_json: AsJson = False) -> None:
    """Where every strategy version stands."""
    from quality.ledger import stages as fold

    workplace = _workplace()
    days = workplace.project.promotion.evidence_expires_days
    standings = fold(workplace.ledger.store().entries(), expires_days=days)
    if as_json:
        _print_json([standing.model_dump(mode="json") for standing in standings.values()])
        return
    rows = [
        (
            one.strategy,
            one.stage,
            f"{one.since:%Y-%m-%d %H:%M}Z",
            f"{one.expires:%Y-%m-%d %H:%M}Z" if one.expires else "-",
        )
        for one in standings.values()
    ]
    _print_table(
        ("strategy", "stage", "since", "evidence expires"),
        rows,
        empty="no strategy is registered yet: run `gauntlet nightly`",
    )


def review(
    strategy: Annotated[str, typer.Argument(help="name@version")],
    to: Annotated[Stage | None, typer.Option(help="The next stage by default.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """May this strategy version move up? Every rule, passed or failed. Exit 1 when refused."""
    from assets import promotion
    from pipelines.cli.report import console, verdicts_table
    from resources import lock
    from resources.clock import now

    workplace = _workplace()
    definition = _definition(workplace, strategy)
    with lock.held(workplace.settings.lock, purpose="gauntlet review", wait=False):
        target = to or promotion.next_stage(workplace.project, workplace.ledger.store(), strategy)
        made = promotion.review(
            workplace.project, definition, workplace.lake, workplace.ledger.store(), to=target, at=now()
        )
        workplace.ledger.publish_head()
    if as_json:
        _print_json(made.decision.document())
    else:
        on = console()
        outcome = "approved" if made.decision.approved else "refused"
        on.print(f"{strategy} {made.decision.from_} to {made.decision.to}: {outcome}", markup=False)
        on.print(verdicts_table(made.decision.verdicts))
        on.print(f"decision {made.decision.id}\nevidence {made.decision.evidence}", soft_wrap=True, markup=False)
    raise typer.Exit(0 if made.decision.approved else 1)


@ledger.command("show")
def show(*, as_json: AsJson = False) -> None:
    """Every entry, oldest first."""
    entries = _workplace().ledger.store().entries()
    if as_json:
        _print_json([entry.model_dump(mode="json") for entry in entries])
        return
    rows = [
        (str(one.n), f"{one.at:%Y-%m-%d %H:%M:%S}Z", one.kind, one.strategy or "", _gist(one.kind, dict(one.body)))
        for one in entries
    ]
    _print_table(("n", "at", "kind", "strategy", "what"), rows, empty="the ledger is empty: run `gauntlet nightly`")


@ledger.command("verify")
def verify(*, as_json: AsJson = False) -> None:
    """Does the chain hold? Names the first entry that breaks. Exit 1 when one does."""
    found = _workplace().ledger.verify()
    if as_json:
        _print_json(found.model_dump(mode="json"))
    elif found.ok:
        typer.echo(f"{found.entries} entries, the chain holds; head {found.head or 'none'}")
    else:
        for broken in found.broken:
            typer.echo(f"entry {broken.entry}: {broken.problem}")
    raise typer.Exit(0 if found.ok else 1)


def _workplace() -> "Workplace":
    from pipelines.workplace import open_workplace

    return open_workplace()


def _definition(workplace: "Workplace", strategy: str) -> "StrategyDefinition":
    from quality.documents import nearest
    from resources.errors import UnknownStrategyError

    known = workplace.project.strategies
    if strategy not in known:
        raise UnknownStrategyError(strategy, known, nearest(strategy, known))
    return known[strategy]


def _gist(kind: str, body: dict[str, Any]) -> str:
    if kind == "decision":
        failed = [one["metric"] for one in body["verdicts"] if not one["passed"]]
        outcome = "approved" if body["approved"] else f"refused by {', '.join(failed)}"
        return f"{body['from']} to {body['to']}: {outcome}"
    if kind == "registered":
        return f"code {body['code'][7:19]}, configuration {body['configuration'][7:19]}"
    return str(body.get("to") or body.get("reason") or "")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    from pipelines.cli.report import console, rows_table

    if not rows:
        typer.echo(empty)
        return
    console().print(rows_table(header, rows))
