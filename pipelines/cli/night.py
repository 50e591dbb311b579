"""`gauntlet nightly`: everything that is due, in order, in this process; then what came of it."""

import json
from datetime import datetime
from typing import Annotated

import typer


def nightly(
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set, and strategies on it; repeatable.")
    ] = None,
    as_of: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Look at no later session.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the report.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Ingest, judge, research and review whatever is due. Exit 1 when a data set blocked or a run failed."""
    from pipelines.cli.report import console, show
    from pipelines.run_night import run_night
    from pipelines.summary import summary
    from pipelines.workplace import open_workplace

    progress = console(stderr=as_json)
    workplace = open_workplace()
    try:
        done = run_night(
            workplace,
            only=dataset or (),
            no_later_than=as_of.date() if as_of else None,
            say=lambda line: progress.print(line, soft_wrap=True),
        )
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing is lost, the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    result = summary(workplace, done)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(console(), workplace, result, done)
    raise typer.Exit(1 if any(one["blocked"] for one in result["datasets"]) or done.failed else 0)
