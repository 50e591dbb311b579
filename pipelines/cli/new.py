"""`gauntlet new NAME`: a strategy to start from, with its YAML and a test of it."""

from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="Words of a-z and 0-9 joined by _, such as dip_buyer.")],
    *,
    dataset: Annotated[str | None, typer.Option(help="A data set of the project; crypto_5m by default.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="One that it has; 1h by default where it has it.")] = None,
    author: Annotated[str, typer.Option(help="Who answers for it.")] = "you",
) -> None:
    """Write strategies/NAME.py, strategies/NAME.yaml and tests/strategies/test_NAME.py; nothing is written over."""
    from pipelines.workplace import open_workplace
    from resources import starter
    from resources.clock import now

    workplace = open_workplace()
    root = workplace.settings.project
    files = starter.starter(
        workplace.project, name, root=root, dataset=dataset, timeframe=timeframe, author=author, at=now().date()
    )
    starter.write(files)
    for path in files:
        typer.echo(f"wrote {path.relative_to(root).as_posix()}")
    typer.echo(f"next: `gauntlet backtest {name}`")
