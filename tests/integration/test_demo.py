"""`janus demo` and `janus up` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from janus_memory.cli.demo_settings import MARKET, demo_settings
from janus_memory.cli.up import write_settings
from janus_memory.loopback import free_port
from janus_memory.settings import load_settings
from janus_memory.sleep.sessions import read_records, state_folder
from streams.admin import topic_plans
from streams.embedded import EmbeddedBroker
from tests.integration.harness import Process

pytestmark = [pytest.mark.integration, pytest.mark.slow]

JANUS = [sys.executable, "-m", "janus_memory.cli.main"]
TIMEOUT_S = 1500.0


def _left_over(folder: Path) -> list[str]:
    """Processes whose command line names the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and process.pid != os.getpid():
            found.append(line)
    return found


def test_the_demo_trades_sleeps_and_shows_what_it_learned(tmp_path: Path) -> None:
    """Two real weeks on the embedded broker and Ray; the summary agrees with what was committed."""
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*JANUS, "demo", "--data", str(folder), "--sessions", "2", "--json"],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    nights = summary["nights"]
    assert [night["session"] for night in nights] == ["2017-01-13.1", "2017-01-20.1"]
    assert [night["transitions"] for night in nights] == [2300, 2300]
    assert [night["market_states"] for night in nights] == [115, 115]
    assert summary["dead_letters"] == 0
    assert nights[-1]["schemas"] == len(summary["schemas"]) > 0
    assert all(schema["profile"] and schema["size"] > 0 for schema in summary["schemas"])
    records = read_records(state_folder(folder, MARKET))
    assert [record.state for record in records] == ["committed", "committed"]
    assert records[-1].digest == summary["digest"]
    assert load_settings(folder / "janus.toml").market(MARKET).simulated
    assert _left_over(folder) == []


def test_up_runs_the_services_until_sigterm_and_exits_with_zero(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        settings = demo_settings(
            tmp_path, broker.bootstrap, dashboard=False, port=free_port(), in_process=True
        )
        broker.create_topics({plan.name: plan.partitions for plan in topic_plans(settings, [MARKET])})
        write_settings(settings, tmp_path / "janus.toml")
        up = Process([*JANUS, "--config", str(tmp_path / "janus.toml"), "up"])
        try:
            up.wait_for("sleeper is ready")
            up.wait_for("assigned")
            up.signal(signal.SIGTERM)
            assert up.exit_code() == 0, up.output
        finally:
            up.end()  # it ends the services; one that had to be killed cannot
        assert "all services have stopped" in up.output
        assert _left_over(tmp_path) == []


def test_a_port_that_is_taken_ends_the_services_with_what_to_do(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = demo_settings(tmp_path, broker.bootstrap, dashboard=False, port=port, in_process=True)
        broker.create_topics({plan.name: plan.partitions for plan in topic_plans(settings, [MARKET])})
        write_settings(settings, tmp_path / "janus.toml")
        done = subprocess.run(
            [*JANUS, "--config", str(tmp_path / "janus.toml"), "up"],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
    assert _left_over(tmp_path) == []
