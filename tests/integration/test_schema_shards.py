"""Schema shards on real Ray: any number of them gives the labels and the bank of the walk alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from actors.cluster import LocalCluster, environment
from janus_memory.config import RaySettings
from tests.integration.shard_walks import digest_of_a_walk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def test_any_number_of_shards_gives_the_same_labels_and_the_same_bank(tmp_path: Path) -> None:
    """1, 2, 4 and 8 of them, over several rounds with new schemas in between, and after merging."""
    settings = RaySettings(dashboard_port=0, dashboard=False)
    cluster = LocalCluster.start(settings, tmp_path)
    try:
        walked = subprocess.run(
            [sys.executable, "-m", "tests.integration.shard_walks", cluster.address],
            env=os.environ | environment(settings, tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        cluster.stop()
    assert walked.returncode == 0, walked.stderr
    assert json.loads(walked.stdout) == dict.fromkeys(("1", "2", "4", "8"), digest_of_a_walk(None))
