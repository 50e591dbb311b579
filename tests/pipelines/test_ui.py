"""What a person sees: the web UI on the instance of a terminal's night, through GraphQL and a real browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.workplace import open_workplace
from tests.small_project import STRATEGY, quiet_night, write_project

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")
PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the web UI, after a night in the terminal."""
    root = write_project(tmp_path_factory.mktemp("ui"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAUNTLET_PROJECT", str(root))
        patch.setenv("GAUNTLET_HOME", str(root / "home"))
        assert quiet_night(open_workplace()).failed == []
        port = _free_port()
        log = (root / "ui.log").open("w")
        gauntlet = Path(sys.executable).with_name("gauntlet")
        server = subprocess.Popen(
            [gauntlet, "ui", "--port", str(port)], stdout=log, stderr=log, env=dict(os.environ), start_new_session=True
        )
        try:
            base = f"http://127.0.0.1:{port}"
            _until(lambda: _ask(base, "{assetNodes{assetKey{path}}}")["assetNodes"], server)
            yield base
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # SIGTERM does not end every child of `dagster dev`
            server.wait(timeout=30)
            log.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _ask(base: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{base}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = json.load(answer)
    assert "errors" not in told, told
    data: dict[str, Any] = told["data"]
    return data


def _until(found: Callable[[], Any], server: subprocess.Popen[bytes] | None = None) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert server is None or server.poll() is None, "the server ended"
        try:
            if value := found():
                return value
        except OSError:
            pass
        time.sleep(0.5)
    pytest.fail(f"nothing came within {PATIENCE_SECONDS} s")


def _page(base: str, path: str) -> str:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed, so there is no browser to look with")
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --window-size=1600,1000 --virtual-time-budget=15000 --dump-dom"
    )
    done = subprocess.run(
        [CHROMIUM, *flags.split(), f"{base}{path}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_the_terminals_runs_and_materializations_are_there(address: str) -> None:
    told = _ask(address, "{runsOrError{... on Runs{results{jobName status}}}}")
    runs = told["runsOrError"]["results"]
    assert {run["status"] for run in runs} == {"SUCCESS"}
    assert {"market_crypto_5m", "research", "walk_forward", "review_promotions"} <= {run["jobName"] for run in runs}
    query = "query($k:AssetKeyInput!){assetNodeOrError(assetKey:$k){... on AssetNode{partitionStats{numMaterialized numPartitions}}}}"
    stats = _ask(address, query, k={"path": ["crypto_5m", "bars"]})["assetNodeOrError"]["partitionStats"]
    assert stats == {"numMaterialized": 21, "numPartitions": 21}


def test_checks_say_how_every_instrument_did(address: str) -> None:
    query = (
        'query($k:AssetKeyInput!){assetCheckExecutions(assetKey:$k,checkName:"completeness",limit:1)'
        "{status evaluation{success metadataEntries{label ... on TableMetadataEntry{table{records}}}}}}"
    )
    (execution,) = _ask(address, query, k={"path": ["crypto_5m", "bars"]})["assetCheckExecutions"]
    assert execution["status"] == "SUCCEEDED"
    (table,) = (entry for entry in execution["evaluation"]["metadataEntries"] if entry["label"] == "instruments")
    assert [json.loads(row)["instrument"] for row in table["table"]["records"]] == [
        "BTCUSD.BITFINEX",
        "ETHUSD.BITFINEX",
    ]


def test_schedule_and_sensors_are_on_and_find_nothing_to_do(address: str) -> None:
    states = _ask(
        address,
        "{repositoriesOrError{... on RepositoryConnection{nodes{schedules{name scheduleState{status}}"
        "sensors{name sensorState{status ticks(limit:1){status skipReason runIds error{message}}}}}}}}",
    )
    wanted = "{repositoriesOrError{... on RepositoryConnection{nodes{sensors{name sensorState{ticks(limit:1){status skipReason runIds}}}}}}}"

    def ticked() -> list[dict[str, Any]] | None:
        (repository,) = _ask(address, wanted)["repositoriesOrError"]["nodes"]
        ticks = [sensor["sensorState"]["ticks"] for sensor in repository["sensors"]]
        return (
            [tick[0] for tick in ticks]
            if all(ticks) and all(tick[0]["status"] != "STARTED" for tick in ticks)
            else None
        )

    (repository,) = states["repositoriesOrError"]["nodes"]
    assert {one["scheduleState"]["status"] for one in repository["schedules"]} == {"RUNNING"}
    sensors = [one for one in repository["sensors"] if one["name"] != "default_automation_condition_sensor"]
    assert len(sensors) == 7
    assert {one["sensorState"]["status"] for one in sensors} == {"RUNNING"}
    for tick in _until(ticked):
        assert tick["status"] == "SKIPPED"
        assert tick["runIds"] == []


def test_a_browser_shows_the_graph_a_check_and_an_equity_curve(address: str) -> None:
    graph = _page(address, "/asset-groups")
    for group in ("crypto_5m", "research", "promotion"):
        assert group in graph
    check = _page(address, "/assets/crypto_5m/bars?view=checks")
    assert "blocking" in check
    assert "BTCUSD.BITFINEX" in check
    events = _page(address, f"/assets/backtest?view=events&partition={STRATEGY}")
    assert "data:image/svg+xml;base64," in events
