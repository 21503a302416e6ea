"""The directions between packages hold: streams -> janus_memory <- actors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = {"aiokafka", "confluent_kafka", "faust", "mode", "ray"}
COMPOSITION_ROOT = ROOT / "janus_memory" / "cli"


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Top-level names a file imports, and whether each import stands at the file's top level."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append((node.module.split(".")[0], id(node) in top))
    return found


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", _files("janus_memory"), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_is_free_of_kafka_and_ray(path: Path) -> None:
    """Only the command line's bodies import streams, actors or their foreign systems."""
    for name, at_top in _imports(path):
        if name in FOREIGN | {"streams", "actors"}:
            assert COMPOSITION_ROOT in path.parents, f"{path} imports {name}"
            assert not at_top, f"{path} imports {name} before a command runs"


@pytest.mark.parametrize("path", _files("streams"), ids=lambda p: str(p.relative_to(ROOT)))
def test_streams_know_neither_actors_nor_ray(path: Path) -> None:
    """Ingest lives on when Ray dies."""
    assert not {"actors", "ray"} & {name for name, _ in _imports(path)}


@pytest.mark.parametrize("path", _files("actors"), ids=lambda p: str(p.relative_to(ROOT)))
def test_actors_do_not_import_faust(path: Path) -> None:
    """The sleeper reads Kafka by plain clients: a Faust worker and a Ray driver cannot share a process."""
    assert not {"faust", "mode"} & {name for name, _ in _imports(path)}


@pytest.mark.parametrize("package", ["janus_memory", "streams", "actors"])
def test_nothing_that_runs_what_it_reads(package: str) -> None:
    """No pickle, eval or exec in our own code."""
    for path in _files(package):
        tree = ast.parse(path.read_text())
        calls = {
            n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert not calls & {"eval", "exec", "compile"}, path
        assert not {"pickle", "cloudpickle", "dill", "joblib"} & {name for name, _ in _imports(path)}, path
