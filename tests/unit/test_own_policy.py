"""A user's own policy through whole nights: it learns by the same law, resumes bit for bit, and is named where it fails."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np
import pytest

from janus_memory.config import MarketSettings, RuleSettings, Settings
from janus_memory.errors import CheckpointError, PolicyError
from janus_memory.events import PolicyUpdate, decode
from janus_memory.policy.factory import PolicySpec, load_factory
from janus_memory.policy.packing import unpack_policy
from janus_memory.policy.protocol import Batch
from janus_memory.replay.law.laws import importance_weights, law
from janus_memory.replay.night.learner import night_key
from janus_memory.replay.night.sampling import uniforms
from janus_memory.replay.priorities import beta_at, priorities
from janus_memory.seeds import derive_seed
from janus_memory.sleep.cycle import NightResult, NightStopped
from janus_memory.sleep.memory import Memory
from janus_memory.store.arrays import Arrays, array_digest
from tests.unit import own_policies
from tests.unit.sleep_rows import FEATURES, MARKET, night_of, rows_of, settings_for, sleep

HERE = "tests.unit.own_policies"
# A rule that some rows break a little: gates between the threshold and 1.
MOSTLY = RuleSettings(name="mostly", text="forall: calm > 3 ~ 2 implies not (action == long)")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return with_policy(settings_for(tmp_path, rules=(MOSTLY,)), "linear")


@pytest.fixture(autouse=True)
def healthy() -> Iterator[None]:
    """Whatever a test has made sick is well again."""
    yield
    own_policies.SICK.clear()


def with_policy(settings: Settings, name: str, **replay: Any) -> Settings:
    """The settings under a factory of `own_policies`; an empty name is the built-in policy."""
    replayed = msgspec.structs.replace(settings, replay=msgspec.structs.replace(settings.replay, **replay))
    return with_factory(replayed, f"{HERE}:{name}" if name else "")


def with_factory(settings: Settings, factory: str) -> Settings:
    """The settings with this policy."""
    return msgspec.structs.replace(settings, policy=msgspec.structs.replace(settings.policy, factory=factory))


def first_night(settings: Settings, run: str = "day-1", **how: Any) -> NightResult:
    return sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1)), run=run, **how)


def essence(result: NightResult) -> tuple[str, str, list[bytes]]:
    """Digest, the whole memory, and the outbox without the report's wall times."""
    values = [record.value for record in result.outbox[:-1]]
    return result.memory.digest(), array_digest(result.memory.snapshot()), values


def learned(arrays: Arrays) -> own_policies.Momentum:
    """The policy whose bytes these are."""
    policy = own_policies.Momentum(spec_of(settings_for(Path("unused")), "fast"), 0)
    unpack_policy(policy, arrays["policy"])
    return policy


def spec_of(settings: Settings, speed: Any) -> PolicySpec:
    return PolicySpec(settings.market(MARKET).spec(MARKET), settings.policy, speed=speed)


def batch_of(result: NightResult) -> Batch:
    """All rows of the night in the total order, as the policy sees them."""
    known, rows = result.memory.knowledge, result.memory.rows
    assert known is not None
    assert rows is not None
    return Batch(
        known.scale.standardise(rows.state).astype(np.float32),
        rows.action,
        known.scale.reward(rows.reward).astype(np.float32),
        known.scale.standardise(rows.next_state).astype(np.float32),
        rows.next_action,
        rows.done,
    )


def take(batch: Batch, rows: Any) -> Batch:
    return Batch(*(getattr(batch, name)[rows] for name in Batch.__slots__))


def test_a_night_learns_publishes_and_names_the_users_policy(settings: Settings) -> None:
    """TD errors fall, the slow file is published under its hash, and events, report and memory say whose it is."""
    night = first_night(settings)
    known, metrics = night.memory.knowledge, night.report.metrics
    assert known is not None
    assert night.state == "committed"
    assert metrics["td_error_after"] < metrics["td_error_before"]
    assert 0 < metrics["policy_satisfaction"] < 1
    name = f"{HERE}:linear"
    assert night.report.policy == known.policy == name
    update = decode(PolicyUpdate, night.outbox[-2].value)
    assert (update.policy, update.policy_version) == (name, 1)
    data = (Path(settings.data_dir) / update.location).read_bytes()
    assert data == known.slow["policy"].tobytes()
    assert hashlib.sha256(data).hexdigest() == update.sha256
    assert (learned(known.slow).w != learned(known.fast).w).any()


def test_the_digest_covers_fast_and_slow(settings: Settings) -> None:
    """One byte more in either file is another memory."""
    memory = first_night(settings).memory
    known = memory.knowledge
    assert known is not None
    longer: Arrays = {"policy": np.append(known.fast["policy"], np.uint8(0))}
    others = [replace(known, fast=longer), replace(known, slow=longer)]
    assert len({memory.digest(), *(replace(memory, knowledge=other).digest() for other in others)}) == 3


@pytest.mark.parametrize("refresh", ["exact", "lazy"])
@pytest.mark.parametrize("name", ["linear", "forgetful"])
def test_a_night_left_at_every_checkpoint_ends_in_the_same_bits(
    settings: Settings, refresh: str, name: str
) -> None:
    """Also with a policy whose `save` leaves its momentum out: it is loaded at every checkpoint, stopped or not."""
    settings = with_policy(settings, name, refresh=refresh, refresh_every=4)
    whole, stops = first_night(settings, run="whole"), 0
    while True:
        try:
            result = first_night(settings, stop=lambda: True)
            break
        except NightStopped:
            stops += 1
            assert stops < 20
    assert stops == 8
    assert essence(result) == essence(whole)


def test_fast_learns_what_the_law_draws(settings: Settings) -> None:
    """Ten exact iterations equal a plain loop: E7 over all rows before every batch, E8's draws, E9 and E10's weights."""
    settings = with_policy(settings, "linear", iterations=10)
    night = first_night(settings)
    replay, batch, known = settings.replay, batch_of(night), night.memory.knowledge
    assert known is not None
    policy = own_policies.linear(spec_of(settings, "fast"), derive_seed(0, MARKET, "day-1", "policy"))
    key = night_key(derive_seed(0, MARKET, "day-1", "replay"))
    violation, count = night.memory.metadata.violation, np.zeros(250, int)
    for t in range(10):
        p = priorities(policy.td_errors(batch), violation, batch.reward, replay)
        share = law("prioritized_loss", p, np.zeros(250, np.int32), np.zeros(250, np.int64), replay)
        with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
            u = np.asarray(uniforms(key, np.int32(t), replay.batch))
        drawn = np.searchsorted(np.cumsum(share), u, side="right")
        w = importance_weights(share[drawn], 250, beta_at(t, 10, replay), replay.normalise, share.min())
        policy.update(take(batch, drawn), w.astype(np.float32))
        np.add.at(count, drawn, 1)
    np.testing.assert_allclose(learned(known.fast).w, policy.w, rtol=1e-6, atol=1e-9)
    assert (night.memory.metadata.replay_count == count).all()


def test_slow_learns_each_passed_row_once_by_its_gate(settings: Settings) -> None:
    """From the fast initial weights, in the total order, a batch at a time, weighed by g_logic, at the slow rate."""
    settings = with_policy(settings, "linear", iterations=1)
    night = first_night(settings)
    known, batch = night.memory.knowledge, batch_of(night)
    assert known is not None
    gates = logic_gates(night)
    passed = gates > settings.neocortex.tau_logic
    assert 0 < passed.sum() <= 250
    assert passed.tolist() == night.memory.metadata.consolidated.tolist()
    assert (gates[passed] < 1).any()
    policy = own_policies.linear(spec_of(settings, "slow"), derive_seed(0, MARKET, "day-1", "policy"))
    rows = np.flatnonzero(passed)
    for start in range(0, len(rows), settings.replay.batch):
        some = rows[start : start + settings.replay.batch]
        policy.update(take(batch, some), gates[some].astype(np.float32))
    np.testing.assert_array_equal(learned(known.slow).w, policy.w)


def logic_gates(night: NightResult) -> Any:
    """1 - sqrt(mean (1 - truth)^2) over each episode of the one rule, by hand (E18); the untrained recall gate is 1."""
    rows = night.memory.rows
    assert rows is not None
    high = 1 / (1 + np.exp(-(rows.state[:, 0].astype(float) - 3) / 2))
    truth = 1 - high * (rows.action == 2)
    gates = np.zeros(len(rows))
    for episode in set(rows.episode_id.tolist()):
        own = rows.episode_id == episode
        gates[own] = 1 - np.sqrt(np.mean((1 - truth[own]) ** 2))
    return gates


def test_the_next_night_goes_on_from_both_copies(settings: Settings) -> None:
    """Without iterations and rows that pass, both copies stay as they were; with them, they move on."""
    one = first_night(settings).memory
    still = with_policy(settings, "linear", iterations=0)
    assert one.knowledge is not None
    never = msgspec.structs.replace(still, neocortex=msgspec.structs.replace(still.neocortex, tau_logic=1.0))
    two = sleep(never, one, night_of(2, rows_of(settings, 2)), run="still").memory
    assert two.knowledge is not None
    assert two.knowledge.fast["policy"].tobytes() == one.knowledge.fast["policy"].tobytes()
    assert two.knowledge.slow["policy"].tobytes() == one.knowledge.slow["policy"].tobytes()
    moved = sleep(settings, one, night_of(2, rows_of(settings, 2))).memory
    assert moved.knowledge is not None
    assert moved.knowledge.fast["policy"].tobytes() != one.knowledge.fast["policy"].tobytes()
    assert moved.knowledge.slow["policy"].tobytes() != one.knowledge.slow["policy"].tobytes()


def test_vectors_are_judged_at_the_policys_own_choice(tmp_path: Path) -> None:
    """A night of vector actions: the rule's truth at (0, 3), whatever the rows did, without the margins of a loss."""
    rule = RuleSettings(name="small", text="abs(calm) < 1e6 implies action[1] < 2 ~ 1")
    market = MarketSettings(
        features=FEATURES, action_dim=2, action_low=(-1, 0), action_high=(1, 4), rules=(rule,)
    )
    plain = msgspec.structs.replace(settings_for(tmp_path), markets={MARKET: market})
    rows = rows_of(settings_for(tmp_path), 1)
    acts = np.random.default_rng(1).uniform((-1, 0), (1, 4), (250, 2)).astype(np.float32)
    given = night_of(1, replace(rows, action=acts, next_action=np.full_like(acts, np.nan)))
    night = sleep(with_factory(plain, f"{HERE}:Steady"), Memory.empty(MARKET), given)
    assert night.state == "committed"
    assert night.report.metrics["policy_satisfaction"] == pytest.approx(1 / (1 + np.e), abs=1e-6)


def test_a_policy_cannot_change_the_nights_rows(settings: Settings) -> None:
    """One that overwrites what it was given leaves the same memory as one that does not."""
    spoiling = first_night(with_policy(settings, "spoiling"), run="spoiling")
    plain = first_night(settings, run="plain")
    assert spoiling.memory.digest() == plain.memory.digest()


@pytest.mark.parametrize(
    ("method", "wrong", "said"),
    [
        ("td_errors", ZeroDivisionError("no luck"), "raised ZeroDivisionError: no luck ("),
        ("td_errors", lambda td: td[:-1], "returned shape (99,) where (100,) was asked for"),
        ("td_errors", lambda td: td[:, None], "returned shape (100, 1) where (100,)"),
        ("td_errors", lambda td: td * np.nan, "100 of 100 values that are not finite"),
        ("td_errors", lambda td: td.astype(int), "an array of int64"),
        ("td_errors", lambda td: td.tolist(), "returned list where a numpy array"),
        ("update", MemoryError("full"), "raised MemoryError: full"),
        ("update", lambda loss: np.where(np.arange(32) == 3, np.inf, loss), "1 of 32 values that are not finite float32, the first in row 3"),
        ("update", lambda _: None, "returned NoneType where a numpy array"),
        ("update", lambda loss: loss.astype(float) * 1e200, "not finite float32"),
        ("action_distribution", KeyError("flat"), "raised KeyError: 'flat'"),
        ("action_distribution", lambda pi: pi[:, :2], "returned shape (32, 2) where (32, 3)"),
        ("action_distribution", lambda pi: pi * 2, "which are no probabilities"),
        ("action_distribution", lambda pi: pi - 0.5, "which are no probabilities"),
        ("save", OSError("disk"), "raised OSError: disk"),
        ("save", lambda _: False, "wrote no file at the path it was given"),
        ("load", ValueError("other shape"), "raised ValueError: other shape"),
    ],
)  # fmt: skip
def test_what_a_policy_does_wrong_is_named_and_nothing_is_consolidated(
    settings: Settings, method: str, wrong: Any, said: str
) -> None:
    """The message names factory, market, method, session and what comes next; well again, the night goes on."""
    settings = with_policy(settings, "sick")
    own_policies.SICK[method] = wrong
    with pytest.raises(PolicyError) as caught:
        first_night(settings)
    message = str(caught.value)
    assert f"{HERE}:sick, market fx: {method} " in message
    assert said in message
    assert "nothing of session day-1 is consolidated or published" in message
    assert message.endswith("`janus sleep --retry day-1`")
    assert {path.name for path in Path(settings.data_dir).rglob("*.npz")} == {"0-freeze.npz"}
    own_policies.SICK.clear()
    assert first_night(settings).state == "committed"


def test_probabilities_that_add_up_to_a_little_more_than_one_will_do(tmp_path: Path) -> None:
    """As float32 sums do: the rules' truths under them stay truths, here those of a rule that all rows keep."""
    kept = RuleSettings(name="kept", text="forall: calm > -1000 ~ 0.1")
    settings = with_policy(settings_for(tmp_path, rules=(kept,)), "sick", iterations=1)
    own_policies.SICK["action_distribution"] = lambda pi: pi * 1.0005
    assert first_night(settings).report.metrics["policy_satisfaction"] == pytest.approx(1, abs=1e-3)


def test_an_error_says_where_in_the_users_code(settings: Settings) -> None:
    own_policies.SICK["td_errors"] = ZeroDivisionError("no luck")
    with pytest.raises(PolicyError, match=r"no luck \(.*own_policies\.py, line \d+\)"):
        first_night(with_policy(settings, "sick"))


def test_a_failure_late_in_the_night_keeps_the_last_checkpoint(settings: Settings) -> None:
    """It fails in its 25th update of 40; repaired, the night goes on at the 20th and ends as if nothing had been."""
    whole, updates = first_night(with_policy(settings, "sick"), run="whole"), 0

    def count(loss: Any) -> Any:
        nonlocal updates
        updates += 1
        return loss if updates < 25 else loss * np.nan

    own_policies.SICK["update"] = count
    with pytest.raises(PolicyError, match="update returned"):
        first_night(with_policy(settings, "sick"))
    updates = 0
    own_policies.SICK["update"] = count
    with pytest.raises(PolicyError, match="update returned"):
        first_night(with_policy(settings, "sick"))
    assert updates == 25
    own_policies.SICK.clear()
    assert essence(first_night(with_policy(settings, "sick"))) == essence(whole)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("linear", "it must read package.module:function"),
        (":linear", "it must read package.module:function"),
        (f"{HERE}:", "it must read package.module:function"),
        ("no.such.module:make", "importing no.such.module raised ModuleNotFoundError"),
        (f"{HERE}:linaer", f"{HERE} has no linaer, but linear"),
        (f"{HERE}:Momentum.nothing", f"{HERE} has no Momentum.nothing"),
        (f"{HERE}:NOT_CALLABLE", "it is a int, which cannot be called"),
    ],
)
def test_a_factory_that_cannot_be_found_is_refused_before_anything_is_read(
    settings: Settings, name: str, said: str
) -> None:
    settings = msgspec.structs.replace(
        settings, policy=msgspec.structs.replace(settings.policy, factory=name)
    )

    def never() -> Any:
        raise AssertionError("the topic was read")

    with pytest.raises(PolicyError) as caught:
        sleep(with_factory(settings, name), Memory.empty(MARKET), never)
    assert f"policy.factory {name!r} cannot be used: {said}" in str(caught.value)
    assert list(Path(settings.data_dir).rglob("*.npz")) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refusing", "the factory raised RuntimeError: no licence for fx, True"),
        ("half", "without td_errors, update, action_distribution, save, load"),
    ],
)
def test_a_factory_that_makes_no_policy_is_named(settings: Settings, name: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        first_night(with_policy(settings, name))
    assert said in str(caught.value)


def test_a_dotted_name_is_looked_up() -> None:
    """What stands inside a class will do, too."""
    assert load_factory(f"{HERE}:Momentum.save").__qualname__ == "Momentum.save"


@pytest.mark.parametrize(("before", "after"), [("linear", "other"), ("linear", ""), ("", "linear")])
def test_a_memory_goes_on_with_the_policy_that_it_was_learned_by(
    settings: Settings, before: str, after: str
) -> None:
    """Another factory, or the built-in policy, is refused by name: between nights and within one."""
    first, then = with_policy(settings, before), with_policy(settings, after)
    memory = first_night(first).memory
    with pytest.raises(CheckpointError) as caught:
        sleep(then, memory, night_of(2, rows_of(settings, 2)))
    names = [f"{HERE}:{name}" if name else "built-in" for name in (before, after)]
    assert f"learned by the policy {names[0]!r} and the settings name {names[1]!r}" in str(caught.value)
    with pytest.raises(NightStopped):
        first_night(first, run="stopped", stop=lambda: True)
    with pytest.raises(CheckpointError, match=f"policy: {names[0]} there, {names[1]} now"):
        first_night(then, run="stopped")
