"""The schema bank: ids, aliases, snapshots."""

from __future__ import annotations

import hashlib

import numpy as np

from janus_memory.neocortex.bank import SchemaBank, schema_id
from janus_memory.neocortex.merging import merge_night
from janus_memory.store.arrays import array_digest, read_arrays, write_arrays
from tests.unit.schema_rows import ROBUST, fitted, night, planted


def _filled(n: int = 400, d: int = 4) -> SchemaBank:
    x, _ = planted(n, d, 4)
    bank, background = fitted(x)
    night(bank, background, x)
    return bank


def test_ids_say_market_session_and_ordinal() -> None:
    """16 hex digits of SHA-256; ordinals go on over sessions and after removals."""
    assert schema_id("fx", "s", 3) == hashlib.sha256(b"fx\x1fs\x1f3").hexdigest()[:16].encode()
    bank = _filled()
    n = bank.size
    bank.remove([0])
    bank.reserve(n)
    bank.name_new(n, "fx", "later")
    assert bank.ids[-1] == schema_id("fx", "later", n)
    assert len(set(bank.ids.tolist())) == n


def test_restore_undoes_snapshot_through_a_file(tmp_path: object) -> None:
    """Bank, aliases, archive and counters come back bit for bit from disk."""
    x, _ = planted(800, 4, 4, run=3)
    bank, background = fitted(x)
    night(bank, background, x)
    assert merge_night(bank, background, ROBUST) > 0
    bank.columns.archived[0] = 1
    bank.version = 7
    path = tmp_path / "bank.npz"  # type: ignore[operator]  # pytest gives a Path
    write_arrays(path, bank.snapshot(), {})
    again = SchemaBank.restore(read_arrays(path)[0])
    assert array_digest(again.snapshot()) == array_digest(bank.snapshot())
    assert (again.aliases, again.version, again.n_made) == (bank.aliases, 7, bank.n_made)
    assert again.archived_ids.tolist() == bank.archived_ids.tolist()


def test_room_and_removed_rows_leave_no_trace_in_the_snapshot() -> None:
    """A bank with spare capacity has the bytes of one without."""
    bank = _filled()
    before = array_digest(bank.snapshot())
    bank.reserve(1000)
    assert array_digest(bank.snapshot()) == before


def test_an_empty_bank_is_a_bank() -> None:
    """No schemas: empty arrays, no nearest one, and its snapshot restores."""
    bank = SchemaBank.restore(SchemaBank.empty(3).snapshot())
    assert (len(bank.ids), bank.means.shape, bank.covariances.shape) == (0, (0, 3), (0, 3, 3))
    assert bank.whiteners().shape == (0, 3, 3)
    np.testing.assert_array_equal(bank.distances(np.zeros((2, 3))), np.inf)


def test_aliases_are_followed_and_go_with_their_end() -> None:
    """A -> b -> c resolves to c; when c is removed nothing is left of either."""
    bank = _filled()
    bank.reserve(3)
    a, b, c = (i.decode() for i in bank.ids[:3].tolist())
    bank.alias(0, 1)
    bank.alias(1, 2)
    bank.remove([0, 1])
    assert (bank.resolve(a), bank.resolve(b), bank.resolve(c)) == (c, c, c)
    bank.remove([0])
    assert (bank.resolve(a), bank.resolve(c), bank.aliases) == (None, None, {})


def test_whiteners_and_distances_are_mahalanobis() -> None:
    """|W e|^2 = e^T (f Sigma)^-1 e, f = 1 + 1/n_eff; the distance is its root over sqrt(d), of the nearest."""
    bank = _filled()
    x = np.random.default_rng(0).normal(size=(20, 4))
    eta_s = 1 / 1000
    squared = np.empty((20, len(bank.ids)))
    for k, (n, mean, covariance) in enumerate(
        zip(bank.num_points, bank.means, bank.covariances, strict=True)
    ):
        f = 1 + 1 / min(n, (2 - eta_s) / eta_s)
        e = x - mean
        squared[:, k] = np.einsum("ni,ij,nj->n", e, np.linalg.inv(f * covariance), e)
        np.testing.assert_allclose(((e @ bank.whiteners()[k].T) ** 2).sum(axis=1), squared[:, k], rtol=1e-9)
    np.testing.assert_allclose(bank.distances(x), np.sqrt(squared.min(axis=1) / 4), rtol=1e-9)
