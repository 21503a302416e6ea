"""The scripts of docs/online-learner.md run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "online-learner.md"


def test_the_pages_scripts_run(tmp_path: Path) -> None:
    """In a process of their own: the policy, ten lines that use it, and a restart; the policy has learned the signal."""
    policy, script, restart = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in script.splitlines() if line]) == 10
    check = "assert learner.stats().trained == 1000 and learner.policy.w[0, 1] > 0.5 > abs(learner.policy.w[0, 0])\n"
    done = subprocess.run(
        [sys.executable, "-c", policy + script + restart + check],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "seen=1000, trained=1000" in done.stdout
    assert "by_domain={'EURUSD': 1000}" in done.stdout
