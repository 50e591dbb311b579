"""`gauntlet backfill DATASET --from DAY --to DAY`: ask a source again, and make all that follows from what it says."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.backfill import Backfilled

_DAY = ["%Y-%m-%d"]
_SHOWN = 5


def backfill(
    dataset: Annotated[str, typer.Argument(help="The name of a data set.")],
    first: Annotated[datetime, typer.Option("--from", formats=_DAY, help="The first session.")],
    last: Annotated[datetime, typer.Option("--to", formats=_DAY, help="The last session, included.")],
    *,
    derive: Annotated[
        bool, typer.Option("--derive", help="Leave the source in peace: judge and derive what is held.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for whoever is writing, instead of saying who.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Ask for a range of sessions again, judge and derive them. Resumable. Exit 1 when a run failed."""
    from pipelines.backfill import backfill as run
    from pipelines.cli.report import console
    from pipelines.workplace import open_workplace

    progress = console(stderr=as_json)
    try:
        done = run(
            open_workplace(),
            dataset,
            first=first.date(),
            last=last.date(),
            derive=derive,
            wait=wait,
            say=lambda line: progress.print(line, soft_wrap=True),
        )
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing is lost, the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    typer.echo(json.dumps(_document(done), indent=2) if as_json else _told(done))
    raise typer.Exit(1 if done.failed else 0)


def _document(done: "Backfilled") -> dict[str, Any]:
    return {
        "dataset": done.dataset,
        "from": str(done.days.first),
        "to": str(done.days.last),
        "sessions": done.sessions,
        "rows_received": done.rows,
        "new_rows": done.new_rows,
        "restated": {instrument: [str(day) for day in days] for instrument, days in done.restated.items()},
        "due": [str(work) for work in done.due],
        "failed": [{"work": failure.work, "reason": failure.reason} for failure in done.failed],
        "seconds": round(done.seconds, 2),
        "run_ids": list(done.run_ids),
    }


def _told(done: "Backfilled") -> str:
    counts = f"{done.sessions:,} sessions, {done.rows:,} rows received, {done.new_rows:,} of them new"
    lines = [f"{done.dataset} from {done.days.first} to {done.days.last}: {counts}"]
    for instrument, days in done.restated.items():
        more = f" and {len(days) - _SHOWN:,} more" if len(days) > _SHOWN else ""
        lines.append(f"  {instrument} restated: {', '.join(map(str, days[:_SHOWN]))}{more}")
    if not done.restated:
        lines.append("  no session that was held before has changed")
    jobs = list(dict.fromkeys(work.job for work in done.due))
    lines.append(f"due next: {', '.join(jobs)} (`gauntlet nightly` does it)" if jobs else "nothing else is due")
    return "\n".join(lines)
