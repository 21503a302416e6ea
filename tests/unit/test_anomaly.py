"""Live anomalies by state-space distance."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from janus_memory.atlas.anomaly import AnomalyModel
from janus_memory.errors import CheckpointError, InsufficientData
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.scale import Scale
from tests.unit.schema_rows import fitted, night, planted

SCALE = Scale(np.array([1.0, -2, 0, 5, 0, 0]), np.array([2.0, 1, 1, 0.1, 1, 30]), 1.0)


def _model(n: int = 2000, rate: float = 0.05) -> tuple[AnomalyModel, SchemaBank, np.ndarray]:
    """A model of the first half of planted rows, calibrated on the third quarter; and the rows, standardised."""
    x, _ = planted(n, 6, 4)
    bank, background = fitted(x)
    night(bank, background, x[: n // 2])
    return AnomalyModel.fit(bank, SCALE, bank.distances(x[n // 2 : 3 * n // 4]), rate, "c1"), bank, x


def _raw(x: np.ndarray) -> np.ndarray:
    return (x * SCALE.deviation + SCALE.mean).astype(np.float32)


def test_distances_are_those_of_the_bank() -> None:
    """Raw states are standardised; the matrix products agree with the fixed kernels."""
    model, bank, x = _model()
    distance, nearest = model.distances(_raw(x))
    again = (_raw(x).astype(np.float64) - SCALE.mean) / SCALE.deviation
    np.testing.assert_allclose(distance, bank.distances(again), rtol=1e-9)
    own = np.linalg.norm((again[0] - bank.means[nearest[0]]) @ bank.whiteners()[nearest[0]].T) / np.sqrt(6)
    assert distance[0] == pytest.approx(own)
    assert model.ids.tolist() == [i.decode() for i in bank.ids.tolist()]


def test_new_ordinary_states_are_flagged_at_about_the_rate_and_planted_ones_are_found() -> None:
    """On rows of neither fit nor calibration about 5 % are flagged; far ones all are."""
    model, _, x = _model()
    ordinary, _ = model.distances(_raw(x[1500:]))
    assert (ordinary > model.threshold).mean() == pytest.approx(0.05, abs=0.03)
    strange, _ = model.distances(_raw(x[1500:] + 4.0))
    assert (strange > model.threshold).mean() > 0.95


@pytest.mark.parametrize(("n", "rate", "rank"), [(19, 0.1, 18), (99, 0.01, 99), (5, 0.01, 5), (1, 0.5, 1)])
def test_the_threshold_is_an_order_statistic(n: int, rate: float, rank: int) -> None:
    """ceil((n + 1)(1 - rate)), at most n."""
    _, bank, x = _model()
    held_out = bank.distances(x[1500 : 1500 + n])
    model = AnomalyModel.fit(bank, SCALE, held_out, rate)
    assert model.threshold == np.sort(held_out)[rank - 1]


def test_load_undoes_save(tmp_path: Path) -> None:
    """Bit for bit; two saves give the same file."""
    model, _, x = _model()
    hashes = [model.save(tmp_path / name) for name in ("a", "b")]
    assert hashes[0] == hashes[1]
    again = AnomalyModel.load(tmp_path / "a", hashes[0])
    for field in dataclasses.fields(AnomalyModel):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(model, field.name))
    assert again.distances(_raw(x))[0].tobytes() == model.distances(_raw(x))[0].tobytes()


def test_files_that_are_not_what_was_announced_are_refused(tmp_path: Path) -> None:
    """Missing, changed in one byte, or no such file at all."""
    model, _, _ = _model()
    path = tmp_path / "model"
    with pytest.raises(CheckpointError, match="No such file"):
        AnomalyModel.load(path, "0")
    sha256 = model.save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        AnomalyModel.load(path, sha256)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot use"):
        AnomalyModel.load(path, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_nothing_to_calibrate_on_is_refused() -> None:
    """No schema, or no state held out."""
    _, bank, _ = _model()
    with pytest.raises(InsufficientData, match="0 held-out"):
        AnomalyModel.fit(bank, SCALE, np.zeros(0), 0.01)
    with pytest.raises(InsufficientData, match="0 schemas"):
        AnomalyModel.fit(SchemaBank.empty(6), SCALE, np.ones(3), 0.01)
