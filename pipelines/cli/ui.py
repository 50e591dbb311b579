"""`gauntlet ui`: Dagster's web UI and daemon on the same instance as the terminal's nights."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 3000) -> None:
    """Serve the web UI; left on, schedules and sensors do the nights by themselves."""
    from pipelines.workplace import open_workplace

    workplace = open_workplace()  # a wrong file is told here, before a server starts
    dagster = Path(sys.executable).with_name("dagster")
    workspace = Path(__file__).parents[2] / "workspace.yaml"
    os.chdir(workplace.settings.project)
    os.execv(dagster, [str(dagster), "dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)])  # noqa: S606
