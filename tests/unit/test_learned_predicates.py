"""Learned predicates: fitted from labelled rows, kept in a file of one hash, said by rules in numpy and under JAX."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from janus_memory.cli.main import run
from janus_memory.config import MarketSettings, PredicateSettings, RuleSettings, Settings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase
from janus_memory.logic.explanation import read_rules
from janus_memory.logic.fitting import fit_predicate
from janus_memory.logic.learned import MAX_PREDICATES, Learned, read_predicates
from janus_memory.transition import MarketSpec, Transitions

# The predicate reads two of three features, in another order than the market has them.
SPEC = MarketSpec("fx", ("x", "noise", "y"), "discrete", 2)
FEATURES = ("y", "x")


def labelled(n: int = 400, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows of (y, x) in units far apart; risky is the inside of an ellipse, which no straight line parts."""
    rng = np.random.default_rng(seed)
    y, x = rng.normal(1e-3, 2e-4, n), rng.normal(500, 100, n)
    return np.column_stack([y, x]), ((y - 1e-3) / 2e-4) ** 2 + ((x - 500) / 100) ** 2 < 1.2


@pytest.fixture(scope="module", name="risky")
def _risky() -> Learned:
    return fit_predicate(FEATURES, *labelled(), seed=1)


@pytest.fixture(name="kept")
def _kept(risky: Learned, tmp_path: Path) -> dict[str, PredicateSettings]:
    risky.write(tmp_path / "risky.safetensors")
    return {"risky": PredicateSettings(file=str(tmp_path / "risky.safetensors"), sha256=risky.sha256)}


def base(kept: dict[str, PredicateSettings], *texts: str) -> KnowledgeBase:
    rules = [RuleSettings(name=f"r{number}", text=text) for number, text in enumerate(texts)]
    return KnowledgeBase.parse(rules, SPEC.features, n_actions=2, predicates=kept)


def rows_of(n: int, seed: int = 5) -> Transitions:
    rows = Transitions.empty(SPEC, n)
    values, _ = labelled(n, seed)
    rows.state[:, [2, 0]] = values
    rows.state[:, 1] = 1e6
    rows.next_state[:] = rows.state[::-1]
    return rows


def test_what_was_labelled_is_learned_and_new_rows_are_told_apart(risky: Learned) -> None:
    """More than a straight line can: at least 95 of 100 rows that it has not seen."""
    x, label = labelled(1000, seed=9)
    degree = risky.degree(x, np)
    assert ((degree > 0.5) == label).mean() > 0.95
    straight = fit_predicate(FEATURES, *labelled(), hidden=(), seed=1)
    assert ((straight.degree(x, np) > 0.5) == label).mean() < 0.75


def test_the_seed_alone_decides(risky: Learned) -> None:
    assert fit_predicate(FEATURES, *labelled(), seed=1) == risky
    assert fit_predicate(FEATURES, *labelled(), seed=2) != risky


def test_a_rule_says_it_of_the_state_and_of_the_next(
    risky: Learned, kept: dict[str, PredicateSettings]
) -> None:
    """Features by name, whatever their order; `is not` is the negation; the same in numpy and compiled."""
    rules, rows = base(kept, "state is risky", "next is risky", "state is not risky"), rows_of(50)
    truths = rules.truths(rows)
    expected = risky.degree(rows.state[:, [2, 0]].astype(np.float64), np)
    assert truths[:, 0].tolist() == expected.tolist()
    assert truths[:, 1].tolist() == expected[::-1].tolist()
    assert truths[:, 2].tolist() == (1 - expected).tolist()
    traced = jax.jit(rules.truth_function())(rows.state, rows.action, rows.next_state, rows.reward)
    assert np.abs(np.asarray(traced) - truths).max() < 1e-4
    assert hash(read_predicates(kept, SPEC.features)["risky"]) == hash(risky)


def test_a_rows_bits_do_not_depend_on_the_batch(kept: dict[str, PredicateSettings]) -> None:
    rules, rows = base(kept, "state is risky"), rows_of(33)
    alone = [rules.truths(rows.take(slice(k, k + 1))) for k in range(33)]
    assert np.concatenate(alone).tobytes() == rules.truths(rows).tobytes()


def test_its_slope_is_that_of_finite_differences(risky: Learned) -> None:
    """By the features, in float64, in units of their spread."""
    with jax.enable_x64(True):  # noqa: FBT003  (its only argument)
        x, unit = jnp.asarray(labelled(20)[0]), np.array([2e-4, 100.0])
        slope = np.asarray(jax.grad(lambda v: risky.degree(v, jnp).sum())(x)) * unit
    for column in (0, 1):
        step = np.zeros(2)
        step[column] = 1e-6 * unit[column]
        values = np.asarray(x)
        found = (risky.degree(values + step, np) - risky.degree(values - step, np)) / 2e-6
        assert slope[:, column] == pytest.approx(found, abs=1e-6)
    assert np.abs(slope).max() > 0.1


def test_what_it_reads_is_named_and_what_follows_the_choice_does_not_train(
    kept: dict[str, PredicateSettings],
) -> None:
    rules = [
        RuleSettings(name="now", text="state is risky implies action == 0"),
        RuleSettings(name="then", text="next is risky implies action == 0"),
    ]
    now, then = read_rules(rules, SPEC, predicates=kept)
    assert (now.mentions.features, then.mentions.next_features) == ((0, 2), (0, 2))
    assert now.not_training == ""
    assert then.not_training.startswith("mentions next.x, next.y")
    assert now.mentions.words["risky"].startswith("learned from y, x (SHA-256 ")
    _, used, left_out = base(kept, *(rule.text for rule in rules)).policy_truths(np.zeros((1, 3), np.float32))
    assert (used, left_out) == (("r0",), ("r1",))


def test_nan_is_refused_where_it_is_read(kept: dict[str, PredicateSettings]) -> None:
    """In numpy by an error, traced by NaN; a feature that the predicate does not read does not count."""
    rules, rows = base(kept, "state is risky"), rows_of(3)
    rows.state[0, 1] = np.nan
    assert np.isfinite(rules.truths(rows)).all()
    rows.state[1, 0] = np.nan
    with pytest.raises(RuleError, match="'r0': a predicate meets NaN"):
        rules.truths(rows)
    traced = rules.truth_function()(jnp.asarray(rows.state), rows.action, rows.next_state, rows.reward)
    assert np.isnan(np.asarray(traced)[:, 0]).tolist() == [False, True, False]


def test_a_rule_that_says_an_unknown_one_is_refused(kept: dict[str, PredicateSettings]) -> None:
    with pytest.raises(RuleError, match=r"column 10: unknown predicate 'rsky' \(did you mean 'risky'\?\)"):
        base(kept, "state is rsky")
    with pytest.raises(RuleError, match="column 7: did not expect '<'"):
        base(kept, "state < 1")
    with pytest.raises(
        RuleError, match=r"column 6: unknown membership 'risky' \(it is a predicate: write state is"
    ):
        base(kept, "x is risky")
    with pytest.raises(RuleError, match=r"known: none; define it in \[markets.NAME.memberships\]; nothing"):
        base(kept, "x is calm")


def test_another_file_than_the_settings_say_is_refused(
    risky: Learned, kept: dict[str, PredicateSettings]
) -> None:
    """By both hashes; a missing one by its path; a market without one of its features by the name."""
    other = dataclasses.replace(risky, layers=tuple((w * 2, b) for w, b in risky.layers))
    other.write(Path(kept["risky"].file))
    with pytest.raises(RuleError, match=rf"predicate 'risky': .*SHA-256 .*settings say '{risky.sha256}'"):
        base(kept)
    Path(kept["risky"].file).unlink()
    with pytest.raises(RuleError, match=r"cannot read .*No such file"):
        base(kept)
    risky.write(Path(kept["risky"].file))
    with pytest.raises(
        RuleError, match=r"fitted on the feature 'y', which the market does not have; known: x, z"
    ):
        read_predicates(kept, ("x", "z"))
    with pytest.raises(RuleError, match="no word of the language"):
        read_predicates({"state": kept["risky"]}, SPEC.features)
    with pytest.raises(RuleError, match=f"more than {MAX_PREDICATES}"):
        read_predicates({f"w{k}": kept["risky"] for k in range(MAX_PREDICATES + 1)}, SPEC.features)


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [(np.ones((2, 2)), np.ones(2))],
        [(np.ones((3, 1)), np.ones(1))],
        [(np.ones((2, 1)), np.full(1, np.nan))],
        [(np.ones((2, 65)), np.ones(65)), (np.ones((65, 1)), np.ones(1))],
        [(np.ones((2, 1)), np.ones(1)), *[(np.ones((1, 1)), np.ones(1))] * 4],
        [(np.ones((2, 1)), np.ones((1, 1)))],
    ],
)
def test_layers_that_are_no_predicate_are_refused(layers: list[tuple[Any, Any]]) -> None:
    with pytest.raises(RuleError, match="finite float32 layers from 2 features to one output"):
        Learned.of(FEATURES, layers)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Bytes that are no safetensors, whatever their hash."""
    file = tmp_path / "x"
    file.write_bytes(b"{}")
    with pytest.raises(RuleError, match="no learned predicate"):
        Learned.read("x", file, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"x": np.zeros((4, 3))}, "one column for each feature"),
        ({"x": np.array([[0, 1], [1, 0], [1, 1], [np.nan, 0]])}, "not finite"),
        ({"labels": np.array([0, 1, 0, 2])}, "label not in"),
        ({"labels": np.ones(4)}, "all labels are alike"),
        ({"x": np.array([[0, 1], [1, 1], [2, 1], [3, 1]])}, "feature 'x' has one value"),
    ],
)
def test_rows_that_teach_nothing_are_refused(changed: dict[str, Any], told: str) -> None:
    given = {"x": np.array([[0, 1], [1, 0], [1, 1], [2, 0]]), "labels": np.array([0, 1, 0, 1])} | changed
    with pytest.raises(RuleError, match=told):
        fit_predicate(FEATURES, given["x"], given["labels"], seed=0)


def test_a_memory_knows_its_predicates_by_their_hash(kept: dict[str, PredicateSettings]) -> None:
    """Where the file lies does not count."""
    one = kept["risky"]
    versions = {
        Settings(
            markets={"m": MarketSettings(features=("x",), n_actions=2, predicates={"risky": each})}
        ).memory_version("m")
        for each in (one, PredicateSettings(file="elsewhere", sha256=one.sha256))
    }
    assert len(versions) == 1
    none = Settings(markets={"m": MarketSettings(features=("x",), n_actions=2)})
    assert none.memory_version("m") not in versions


def test_the_command_fits_and_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From CSV and from Parquet alike; the printed line is what the settings need; bad tables are named."""
    monkeypatch.chdir(tmp_path)
    x, label = labelled(200)
    table = pd.DataFrame({"x": x[:, 1], "y": x[:, 0], "bad": label.astype(int)})
    table.to_csv("rows.csv", index=False)
    table.to_parquet("rows.parquet")
    line = ["rules", "fit", "risky", "--label", "bad", "--features", "y, x", "--out", "risky.safetensors"]
    for name in ("rows.csv", "rows.parquet"):
        assert run([*line, "--on", name]) == 0
    csv, parquet = (part for part in capsys.readouterr().out.splitlines() if part.startswith("risky = "))
    assert csv == parquet
    assert (
        csv
        == f'risky = {{ file = "risky.safetensors", sha256 = "{fit_predicate(FEATURES, x, label, seed=0).sha256}" }}'
    )
    settings = "[markets.fx]\nfeatures = ['x', 'noise', 'y']\nn_actions = 2\n[markets.fx.predicates]\n" + csv
    Path("janus.toml").write_text(settings + "\n[[markets.fx.rules]]\nname = 'r'\ntext = 'state is risky'\n")
    assert run(["rules", "check", "janus.toml"]) == 0
    assert "fx: risky is learned from y, x (SHA-256 " in capsys.readouterr().out
    table.assign(y=["deep", *table["y"][1:]]).to_csv("rows.csv", index=False)
    for changed, told in (
        (["--label", "good"], "rows.csv: no column good; found x, y, bad"),
        (["--label", "x"], "the label x is one of the features"),
        (["--features", "x,x"], "features x, x: a predicate reads at most 64, each named once"),
        ([], "rows.csv, row 1, column y: 'deep' is no finite number"),
    ):
        assert run([*line, *changed, "--on", "rows.csv"]) == 2
        assert told in capsys.readouterr().err
