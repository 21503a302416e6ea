"""A night's process with a policy that the user has written, in a file of his own beside ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from janus_memory.config import PolicySettings
from tests.integration.night_folder import NightRun, freeze_night

pytestmark = pytest.mark.integration

MODULE = """
from pathlib import Path
from tests.unit.own_policies import Momentum


class Desk(Momentum):
    def update(self, batch, weights):
        print("desk: update")
        if Path(__file__).with_name("broken").exists():
            raise ZeroDivisionError("no volume")
        return super().update(batch, weights)
"""


def test_a_policy_that_fails_leaves_its_place_in_the_log_and_goes_on_when_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 with the message, the traceback on stderr, no outcome; mended, the night commits and names it."""
    (tmp_path / "desk_policy.py").write_text(MODULE)
    (tmp_path / "broken").touch()
    monkeypatch.syspath_prepend(tmp_path)
    policy = PolicySettings(factory="desk_policy:Desk")
    night = freeze_night(tmp_path / "data", policy=policy)
    failed = NightRun(night, {"PYTHONPATH": str(tmp_path)})
    assert failed.end() == 1
    said = [line for line in failed.said if "error" in line]
    assert said[-1]["kind"] == "PolicyError"
    assert (
        f"update raised ZeroDivisionError: no volume ({tmp_path}/desk_policy.py, line 10)"
        in said[-1]["error"]
    )
    assert any('raise ZeroDivisionError("no volume")' in line.get("text", "") for line in failed.said)
    assert not (night.folder / "outcome.json").exists()
    assert not (night.folder / "1-replay.npz").exists()
    (tmp_path / "broken").unlink()
    assert NightRun(night, {"PYTHONPATH": str(tmp_path)}).end() == 0
    assert (night.outcome.state, night.outcome.policy) == ("committed", "desk_policy:Desk")
    sys.modules.pop("desk_policy")
