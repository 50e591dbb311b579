"""`gauntlet migrate`: the project's YAML in the newest schemas."""

from typing import Annotated

import typer


def migrate(
    *,
    check: Annotated[bool, typer.Option("--check", help="Say what would be rewritten; write nothing.")] = False,
) -> None:
    """Rewrite files of older schemas to the newest; comments stay. With --check exit 1 when there are any."""
    from resources.migrations import outdated, rewrite
    from resources.settings import settings

    files = outdated(settings().project)
    if not check:
        rewrite(files)
    for one in files:
        typer.echo(
            f"{one.file}: {'is of' if check else 'was of'} schema {one.schemas[0]}, the newest is {one.schemas[-1]}"
        )
    if not files:
        typer.echo("every file is in the newest schema")
    elif check:
        typer.echo("`gauntlet migrate` rewrites them")
        raise typer.Exit(1)
    else:
        typer.echo(f"{len(files)} rewritten")
