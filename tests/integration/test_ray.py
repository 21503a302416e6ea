"""A night on real Ray gives the bits of a night in process, also when an actor is killed in its middle."""

from __future__ import annotations

import json
import os
import signal
import stat
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec
import psutil
import pytest

from actors.cluster import LocalCluster, environment
from actors.night import STOPPED
from janus_memory.config import RaySettings, ReplaySettings, RuleSettings
from janus_memory.errors import ConfigError
from janus_memory.loopback import free_port
from janus_memory.sleep.cycle import read_commit
from janus_memory.sleep.sessions import COMMIT_FILE
from janus_memory.store.arrays import array_digest
from tests.integration.harness import wait_until
from tests.integration.night_folder import FrozenNight, NightRun, freeze_night

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

REPLAY = ReplaySettings(iterations=600, batch=32, checkpoint_every=10, block_rows=100)
ON_RAY = RaySettings(executor="ray", dashboard_port=0, n_shards=2)


class Head:
    """A head with its data folder, and what its dashboard knows."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.cluster = LocalCluster.start(ON_RAY, data_dir)

    def ask(self, path: str, token: str | None = None) -> Any:
        """JSON of the dashboard's API, with the token of the head unless another is given."""
        bearer = self.cluster.token.read_text() if token is None else token
        request = Request(self.cluster.dashboard + path, headers={"Authorization": f"Bearer {bearer}"})  # noqa: S310  (loopback)
        with urlopen(request, timeout=60) as answer:  # noqa: S310  (loopback)
            return json.load(answer)

    def actors(self, run: NightRun) -> list[dict[str, Any]] | None:
        """Living actors of a night; None while the dashboard does not answer."""
        try:
            found: list[dict[str, Any]] = self.ask("/api/v0/actors?detail=1")["data"]["result"]["result"]
        except (URLError, TimeoutError):
            return None
        own = f".{run.process.pid}."
        return [actor for actor in found if actor["state"] == "ALIVE" and own in actor["ray_namespace"]]

    def kill(self, run: NightRun, name: str) -> int:
        """Kill the process of a night's actor, once it lives; its id."""

        def ask() -> int | None:
            return next((int(a["pid"]) for a in self.actors(run) or () if a["name"] == name), None)

        pid = wait_until(ask, f"actor {name}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def run(self, night: FrozenNight, *arguments: str) -> NightRun:
        """Start a night's process on this head."""
        extra = environment(ON_RAY, self.data_dir)
        return NightRun(night, extra, "--ray-address", self.cluster.address, *arguments)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    started = Head(tmp_path_factory.mktemp("head"))
    yield started
    started.cluster.stop()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the night in process."""
    night = freeze_night(tmp_path_factory.mktemp("in-process"), replay=REPLAY)
    assert NightRun(night, {}).end() == 0
    night.state.release()
    return night.outcome.digest


def test_a_night_on_ray_has_the_bits_of_one_in_process(head: Head, tmp_path: Path, expected: str) -> None:
    """Its job carries market and session; its actors are named after what they do."""
    night = freeze_night(tmp_path, replay=REPLAY, ray=ON_RAY)
    run = head.run(night)
    assert run.read(lambda said: said.get("done") == 10)
    expected_actors = {
        "replay-0": "ReplayActor",
        "schema-shard-0": "SchemaShard",
        "schema-shard-1": "SchemaShard",
        "map-0": "MapActor",
    }
    with run.held():
        wait_until(
            lambda: {a["name"]: a["class_name"] for a in head.actors(run) or ()} == expected_actors, "all"
        )
        wanted = {"job_name": "fx d1", "market": "fx", "session_id": "d1"}
        assert wanted in [job["metadata"] for job in head.ask("/api/jobs/")]
    assert run.end() == 0, run.said
    assert night.outcome.digest == expected
    assert read_commit(night.folder / COMMIT_FILE).memory.digest() == expected
    night.state.release()


def test_a_killed_actor_is_asked_again(head: Head, tmp_path: Path, expected: str) -> None:
    """replay-0 dies in mid-night; Ray restarts it and the result is the same."""
    night = freeze_night(tmp_path, replay=REPLAY, ray=ON_RAY)
    run = head.run(night)
    assert run.read(lambda said: said.get("done") == 10)
    with run.held():
        victim = head.kill(run, "replay-0")
    assert run.end() == 0, run.said
    assert not is_running(victim)
    assert night.outcome.digest == expected
    night.state.release()


def test_a_night_over_two_replay_actors_has_the_bits_of_one_in_process(head: Head, tmp_path: Path) -> None:
    """Above `parallel_min_rows` they answer TD errors and rule truths of their blocks; one dies in between."""
    replay = ReplaySettings(
        iterations=60, batch=32, checkpoint_every=10, block_rows=70, parallel_min_rows=100
    )
    rule = RuleSettings(name="calm", text="forall: calm > 3 ~ 0.5 implies not (action == long)")
    here = freeze_night(tmp_path / "here", replay=replay, rules=(rule,))
    assert NightRun(here, {}).end() == 0
    night = freeze_night(
        tmp_path / "ray", replay=replay, rules=(rule,), ray=msgspec.structs.replace(ON_RAY, n_replay=2)
    )
    run = head.run(night)
    assert run.read(lambda said: said.get("done") == 10)
    with run.held():
        head.kill(run, "replay-1")
    assert run.end() == 0, run.said
    ends = [read_commit(done.folder / COMMIT_FILE).memory.snapshot() for done in (here, night)]
    assert array_digest(ends[0]) == array_digest(ends[1])
    for done in (here, night):
        done.state.release()


def test_a_night_of_vector_actions_has_the_bits_of_one_in_process(head: Head, tmp_path: Path) -> None:
    """Compiled on one actor, and step by step over two: rules at pi(s) and the head's bootstrap travel with the rows."""
    rule = RuleSettings(name="small", text="calm > 3 ~ 0.5 implies abs(action[0]) < 0.5 ~ 0.2")
    two = msgspec.structs.replace(ON_RAY, n_replay=2)
    whole = ReplaySettings(iterations=30, batch=32, checkpoint_every=10, block_rows=70)
    shared = msgspec.structs.replace(whole, parallel_min_rows=100)
    for name, replay in (("whole", whole), ("shared", shared)):
        asked: dict[str, Any] = {"replay": replay, "rules": (rule,), "action_dim": 2}
        here = freeze_night(tmp_path / name / "here", **asked)
        assert NightRun(here, {}).end() == 0
        night = freeze_night(tmp_path / name / "ray", ray=two, **asked)
        run = head.run(night)
        assert run.end() == 0, run.said
        ends = [read_commit(done.folder / COMMIT_FILE).memory.snapshot() for done in (here, night)]
        assert array_digest(ends[0]) == array_digest(ends[1])
        for done in (here, night):
            done.state.release()


def test_sigterm_leaves_at_a_checkpoint_and_the_next_run_goes_on(
    head: Head, tmp_path: Path, expected: str
) -> None:
    """The exit code says so; nothing is computed twice."""
    night = freeze_night(tmp_path, replay=REPLAY, ray=ON_RAY)
    run = head.run(night)
    assert run.read(lambda said: said.get("done") == 20)
    run.process.terminate()
    assert run.end() == STOPPED
    again = head.run(night)
    assert again.end() == 0, again.said
    first = next(said["done"] for said in again.said if said.get("total") == 600)
    assert first > 20
    assert night.outcome.digest == expected
    night.state.release()


def test_the_dashboard_wants_the_token(head: Head) -> None:
    """The token's file is its owner's only."""
    assert stat.S_IMODE(head.cluster.token.stat().st_mode) == 0o600
    assert head.cluster.dashboard in head.cluster.banner
    assert str(head.cluster.token) in head.cluster.banner
    with pytest.raises(HTTPError, match=r"HTTP Error 40[13]"):
        head.ask("/api/jobs/", token="0" * 64)


def test_all_of_rays_ports_are_on_loopback(head: Head) -> None:
    """No process of the head listens to the outside."""
    listening = [c.laddr.ip for pid in members(head.cluster) for c in listeners(pid)]
    assert len(listening) >= 5
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_a_taken_dashboard_port_is_named(head: Head, tmp_path: Path) -> None:
    """Before anything is started, with the setting to change."""
    port = int(head.cluster.dashboard.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"port {port} .*set ray.dashboard_port"):
        LocalCluster.start(RaySettings(dashboard_port=port), tmp_path)
    assert not (tmp_path / "ray" / "head.json").exists()


def test_what_a_killed_sleeper_left_is_ended_by_the_next_head(tmp_path: Path) -> None:
    """Every process of the old head is gone once the new one answers, and `stop` leaves none."""
    settings = RaySettings(dashboard=False, dashboard_port=free_port())
    old = LocalCluster.start(settings, tmp_path)
    old.process.kill()
    old.process.wait()
    assert members(old)
    new = LocalCluster.start(settings, tmp_path)
    left, folder_left = members(old), old.temporary.exists()
    new.stop()
    assert (left, folder_left) == ([], False)
    assert members(new) == []


def members(cluster: LocalCluster) -> list[int]:
    """The running processes of a head."""
    return [pid for pid in psutil.pids() if _session(pid) == cluster.pid and is_running(pid)]


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait for its parent to notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listeners(pid: int) -> list[Any]:
    """The TCP sockets on which a process listens; none if it has ended."""
    try:
        return [c for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"]
    except psutil.NoSuchProcess:
        return []


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1
