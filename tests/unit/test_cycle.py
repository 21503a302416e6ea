"""A night end to end on small synthetic rows: what it keeps, what it refuses, and that it resumes bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from janus_memory.atlas.anomaly import AnomalyModel
from janus_memory.config import RuleSettings
from janus_memory.errors import CheckpointError, ConfigError, MapError, SessionError
from janus_memory.events import PolicyUpdate, SchemaUpdate, SleepReport, decode
from janus_memory.policy.store import load_weights
from janus_memory.sleep.announce import vector_points
from janus_memory.sleep.cycle import NightStopped, read_commit
from janus_memory.sleep.memory import Memory
from janus_memory.sleep.phases.freeze import id_digests, is_known
from janus_memory.sleep.phases.tidy import held_out
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.store.arrays import array_digest
from janus_memory.topics import POLICY_UPDATES, SCHEMA_UPDATES, SLEEP_REPORTS
from janus_memory.transition import Transitions
from tests.unit.sleep_rows import DAY, MARKET, night_of, rows_of, settings_for, sleep

if TYPE_CHECKING:
    from janus_memory.atlas.layout import MapRequest, MapResult
    from janus_memory.config import Settings
    from janus_memory.sleep.cycle import NightResult


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> NightResult:
    """The committed first night of day 1."""
    settings = settings_for(tmp_path_factory.mktemp("first"))
    return sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1)))


def essence(result: NightResult) -> tuple[str, str, list[bytes]]:
    """Everything a night decides: digest, the whole memory, the outbox without the report's wall times."""
    untimed = msgspec.structs.replace(result.report, phase_seconds={})
    values = [*(record.value for record in result.outbox[:-1]), msgspec.json.encode(untimed)]
    return result.memory.digest(), array_digest(result.memory.snapshot()), values


def test_a_first_night_learns_from_every_row(first: NightResult) -> None:
    """All 250 rows pass, each is counted in exactly one schema and none waits."""
    memory, metrics = first.memory, first.report.metrics
    assert (first.state, first.reason) == ("committed", "")
    assert memory.knowledge is not None
    assert memory.rows is not None
    assert metrics["rows_consolidated"] == 250
    assert sum(memory.knowledge.bank.num_points) == 250
    assert len(memory.known) == 250
    assert memory.metadata.consolidated.all()
    assert is_known(memory.rows.transition_id, memory.known).all()
    assert memory.metadata.replay_count.sum() == 40 * 32
    assert memory.waiting is None
    assert (memory.nights, memory.sessions, memory.accepted) == (1, ("day-1",), 250)


def test_replay_lowers_the_td_error_and_the_report_says_so(first: NightResult) -> None:
    metrics = first.report.metrics
    assert metrics["td_error_after"] < metrics["td_error_before"]
    assert metrics["transitions"] == 250
    assert metrics["distinct_timestamps"] == 125
    assert metrics["schemas"] == metrics["schemas_created"] > 0
    assert metrics["anomalies"] == 0
    assert set(first.report.phase_seconds) == {"freeze", "replay", "consolidation", "map", "outbox"}


def test_a_killed_night_resumes_at_every_checkpoint_with_the_same_bits(
    settings: Settings, first: NightResult
) -> None:
    """The guard fails at each checkpoint write in turn; each time the next run goes on where the files end."""
    given, reads = night_of(1, rows_of(settings, 1)), 0

    def read() -> object:
        nonlocal reads
        reads += 1
        return given

    for death in range(50):
        writes = 0

        def guard() -> None:
            nonlocal writes
            writes += 1
            if writes == 2:
                raise SessionError("killed here")

        try:
            result = sleep(settings, Memory.empty(MARKET), read, run="day-1", guard=guard)  # type: ignore[arg-type]  # counts its calls
            break
        except SessionError:
            assert death < 20
    # One more file a run: freeze, three partial and the whole replay, consolidation, map, outbox, commit.
    assert death == 8
    assert reads == 1
    assert essence(result) == essence(first)


def test_a_night_asked_to_stop_keeps_its_place(settings: Settings, first: NightResult) -> None:
    """It leaves after every checkpoint when asked each time, and still ends with the same bits."""
    given, stops = night_of(1, rows_of(settings, 1)), 0
    while True:
        try:
            result = sleep(settings, Memory.empty(MARKET), given, stop=lambda: True)
            break
        except NightStopped:
            stops += 1
            assert stops < 20
    assert stops == 8
    assert essence(result) == essence(first)


def _with_replay(settings: Settings, **fields: Any) -> Settings:
    return msgspec.structs.replace(settings, replay=msgspec.structs.replace(settings.replay, **fields))


@pytest.mark.parametrize("refresh", ["exact", "lazy"])
def test_a_night_that_goes_step_by_step_resumes_with_the_same_bits(
    settings: Settings, first: NightResult, refresh: str
) -> None:
    """Left after every checkpoint, above the size of the compiled loop or with lazy priorities."""
    stepping = _with_replay(settings, refresh=refresh, refresh_every=4, parallel_min_rows=100)
    given, stops = night_of(1, rows_of(settings, 1)), 0
    whole = sleep(stepping, Memory.empty(MARKET), given, run="whole")
    while True:
        try:
            result = sleep(stepping, Memory.empty(MARKET), given, stop=lambda: True)
            break
        except NightStopped:
            stops += 1
            assert stops < 20
    assert stops == 8
    assert essence(result) == essence(whole)
    assert whole.memory.digest() != first.memory.digest()
    assert whole.report.metrics["td_error_after"] < whole.report.metrics["td_error_before"]


def test_rows_remember_how_they_were_judged_and_replayed(tmp_path: Path) -> None:
    """Two nights of 64 draws: counts add up, the last draw's close is kept, priorities are the last learner's."""
    rule = RuleSettings(name="calm", text="forall: calm > 3 ~ 0.5 implies not (action == long)")
    settings = _with_replay(settings_for(tmp_path, rules=(rule,), capacity=400), iterations=2)
    one = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1))).memory
    known, closed = one.metadata, night_of(1, rows_of(settings, 1)).closed_at
    assert known.replay_count.sum() == 64
    assert (known.last_replayed == np.where(known.replay_count > 0, closed, 0)).all()
    assert one.rows is not None
    assert one.knowledge is not None
    reward = one.knowledge.scale.reward(one.rows.reward).astype(np.float32)
    expected = np.abs(known.td_error) + 2.0 * known.violation + 0.5 * np.abs(reward)
    np.testing.assert_allclose(known.priority, np.maximum(expected, 1e-3), rtol=1e-6)
    assert 0 < known.violation.max() <= 1
    two = sleep(settings, one, night_of(2, rows_of(settings, 2))).memory
    old, kept = two.metadata.take(slice(0, 150)), known.take(slice(100, 250))
    tonight = old.replay_count - kept.replay_count
    assert (tonight >= 0).all()
    assert tonight.sum() + two.metadata.replay_count[150:].sum() == 64
    assert (old.last_replayed == np.where(tonight > 0, closed + DAY, kept.last_replayed)).all()
    assert (old.violation == kept.violation).all()
    assert (old.priority != kept.priority).any()


def test_the_report_says_how_and_what_was_replayed(settings: Settings, first: NightResult) -> None:
    """Strategy, domains, priorities, sample size, and the code's overlap and orthogonality before and after."""
    report, names = first.report, set(first.report.metrics)
    assert (report.strategy, report.domains) == ("prioritized_loss", {"EURUSD": 250})
    assert report.metrics["replay_total"] == 40 * 32
    assert {f"priority_p{level}" for level in (0, 25, 50, 75, 95, 100)} <= names
    assert report.metrics["priority_p50"] == pytest.approx(np.median(first.memory.metadata.priority))
    assert 1 < report.metrics["replay_effective_sample_size"] < 250
    for what in ("td_error", "code_overlap", "code_orthogonality"):
        assert {f"{what}_before", f"{what}_after"} <= names
    few = sleep(settings, first.memory, night_of(2, rows_of(settings, 2).take(slice(0, 20)))).report
    assert (few.state, few.strategy, few.domains) == ("skipped", "", {})


def test_a_finished_night_is_read_and_not_run_again(settings: Settings, first: NightResult) -> None:
    done = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1)))

    def never() -> object:
        raise AssertionError("the topic was read again")

    again = sleep(settings, Memory.empty(MARKET), never, run="day-1")  # type: ignore[arg-type]  # must not be called
    assert essence(again) == essence(done) == essence(first)
    file = Path(settings.data_dir) / "state" / MARKET / "sessions" / "day-1" / "5-commit.npz"
    assert essence(read_commit(file)) == essence(first)


def test_other_settings_or_another_memory_cannot_continue_a_night(
    settings: Settings, first: NightResult
) -> None:
    """The reason names what differs; the checkpoints stay as they are."""
    given = night_of(1, rows_of(settings, 1))
    with pytest.raises(NightStopped):
        sleep(settings, Memory.empty(MARKET), given, stop=lambda: True)
    other = msgspec.structs.replace(settings, seed=5)
    with pytest.raises(CheckpointError, match="seed: 0 there, 5 now"):
        sleep(other, Memory.empty(MARKET), given)
    with pytest.raises(CheckpointError, match="memory before the night"):
        sleep(settings, first.memory, given)
    assert essence(sleep(settings, Memory.empty(MARKET), given)) == essence(first)


def test_arrival_order_and_repeated_rows_change_nothing_but_counts(
    settings: Settings, first: NightResult
) -> None:
    """Every row twice, in another order and as if from another partition: the same digest."""
    rows = rows_of(settings, 1)
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    twice = Transitions.concatenate([shuffled, rows])
    result = sleep(settings, Memory.empty(MARKET), night_of(1, twice))
    assert result.memory.digest() == first.memory.digest()
    assert result.report.metrics["rows_repeated"] == 250
    assert result.outbox[:-1] == first.outbox[:-1]


def test_a_row_is_consolidated_once_in_its_life(settings: Settings) -> None:
    """Rows of both earlier days delivered again are dropped, those in the buffer and those that have left it."""
    one, two, three = (rows_of(settings, day) for day in (1, 2, 3))
    memory = sleep(settings, Memory.empty(MARKET), night_of(1, one)).memory
    memory = sleep(settings, memory, night_of(2, two)).memory
    plain = sleep(settings, memory, night_of(3, three), run="plain")
    again = Transitions.concatenate([two, three, one])
    repeated = sleep(settings, memory, night_of(3, again), run="repeated")
    assert repeated.memory.digest() == plain.memory.digest()
    assert repeated.report.metrics["rows_repeated"] == 500
    assert repeated.report.metrics["rows_consolidated"] == 250


def test_a_market_warms_up_without_losing_a_row(settings: Settings, first: NightResult) -> None:
    """120 rows wait, the rest comes a night later, and the buffer then holds them all."""
    rows = rows_of(settings, 1)
    skipped = sleep(settings, Memory.empty(MARKET), night_of(0, rows.take(slice(0, 120))), run="s0")
    assert skipped.state == "skipped"
    assert skipped.reason.startswith("warming up: 0 of 200")
    assert skipped.report.state == "skipped"
    assert [record.topic for record in skipped.outbox] == [SLEEP_REPORTS]
    assert skipped.memory.knowledge is None
    assert len(skipped.memory.waiting or ()) == 120
    night = sleep(settings, skipped.memory, night_of(1, rows.take(slice(120, None))))
    assert night.state == "committed"
    assert night.memory.sessions == ("day-0", "day-1")
    assert night.memory.digest() == first.memory.digest()


def test_a_night_with_too_few_rows_passes_them_on(settings: Settings) -> None:
    """After the warm-up, 63 rows wait and join the next session."""
    memory = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1))).memory
    rows = rows_of(settings, 2)
    few = sleep(settings, memory, night_of(2, rows.take(slice(0, 63))))
    assert few.state == "skipped"
    assert few.reason.startswith("InsufficientData: 63 new rows, 64 are needed")
    assert few.memory.digest() == memory.digest()
    assert len(few.memory.waiting or ()) == 63
    last = night_of(2, rows.take(slice(63, None)))
    night = sleep(settings, few.memory, replace(last, session_id="day-2b"))
    assert night.report.metrics["rows_consolidated"] == 250
    assert night.memory.accepted == 500


def test_early_rows_belong_to_the_next_night(settings: Settings) -> None:
    """Rows of day 2 that arrived before the close of day 1 wait in the memory."""
    rows = Transitions.concatenate([rows_of(settings, 2, 70), rows_of(settings, 1)])
    night = sleep(settings, Memory.empty(MARKET), night_of(1, rows))
    assert night.report.metrics["rows_early"] == 70
    assert night.memory.waiting is not None
    assert night.memory.waiting.canonical_bytes() == rows_of(settings, 2, 70).canonical_bytes()
    after = sleep(settings, night.memory, night_of(2, rows.take(slice(0, 0))))
    assert after.report.metrics["rows_consolidated"] == 70
    assert after.memory.waiting is None


def test_rows_that_the_gates_reject_are_tried_again_while_they_are_in_the_buffer(tmp_path: Path) -> None:
    """A rule that nobody obeys rejects the whole night; without it the next night takes those rows in."""
    never = RuleSettings(name="never", text="forall: volume > 1000 ~ 0.5")
    strict = settings_for(tmp_path, rules=(never,), capacity=400)
    night = sleep(strict, Memory.empty(MARKET), night_of(1, rows_of(strict, 1)))
    assert night.state == "committed"
    assert night.report.metrics["rows_consolidated"] == 0
    assert night.report.metrics["schemas"] == 0
    assert not night.memory.metadata.consolidated.any()
    assert len(night.memory.known) == 0
    update = decode(PolicyUpdate, night.outbox[-2].value)
    assert update.anomaly_location == ""
    free = settings_for(tmp_path, rules=(), capacity=400)
    after = sleep(free, night.memory, night_of(2, rows_of(free, 2)))
    # 400 rows fit into the buffer, but those of yesterday and of tonight are 500.
    assert after.report.metrics["rows_consolidated"] == 400
    assert after.report.metrics["rows_new"] == 250


def test_a_trained_recall_gate_decides_what_is_taken_in(settings: Settings) -> None:
    """The rows that passed are the ones marked, known and counted; the others keep their place in the buffer."""
    gated = msgspec.structs.replace(
        settings, neocortex=msgspec.structs.replace(settings.neocortex, recall_min_rows=200, tau_recall=0.5)
    )
    night = sleep(gated, Memory.empty(MARKET), night_of(1, rows_of(gated, 1)))
    taken, memory = night.report.metrics["rows_consolidated"], night.memory
    assert night.report.metrics["recall_gate_accuracy"] > 0.5
    assert 0 < taken < 250
    assert night.report.metrics["pass_rate_both"] * 250 == pytest.approx(taken)
    assert memory.metadata.consolidated.sum() == len(memory.known) == taken
    assert memory.rows is not None
    assert (is_known(memory.rows.transition_id, memory.known) == memory.metadata.consolidated).all()
    assert memory.knowledge is not None
    assert memory.knowledge.bank.num_points.sum() == taken


def test_the_buffer_is_the_tail_in_total_order_and_the_cut_is_consolidated_whole(tmp_path: Path) -> None:
    """600 rows into a buffer of 250: all move schemas, the last 250 stay."""
    settings = settings_for(tmp_path)
    rows = rows_of(settings, 1, 600)
    night = sleep(settings, Memory.empty(MARKET), night_of(1, rows))
    assert night.report.metrics["rows_consolidated"] == 600
    assert night.memory.rows is not None
    assert (night.memory.rows.transition_id == rows.sorted().transition_id[-250:]).all()
    limited = msgspec.structs.replace(
        settings, neocortex=msgspec.structs.replace(settings.neocortex, consolidate="buffer")
    )
    night = sleep(limited, Memory.empty(MARKET), night_of(1, rows), run="limited")
    assert night.report.metrics["rows_consolidated"] == 250


def test_what_is_announced_is_what_the_store_will_hold(settings: Settings) -> None:
    """Three nights of events folded into a table equal the vector store's payloads, every field.

    The third night sees one regime only, so the others' payloads still name the second.
    """
    memory, table = Memory.empty(MARKET), {}
    ids: list[str] = []
    for day, n in ((1, 250), (2, 250), (3, 80)):
        night = sleep(settings, memory, night_of(day, rows_of(settings, day).take(slice(0, n))))
        memory = night.memory
        updates = [decode(SchemaUpdate, r.value) for r in night.outbox if r.topic == SCHEMA_UPDATES]
        ids += [update.event_id for update in updates]
        for update in updates:
            if update.kind in {"created", "updated", "revived"}:
                table[update.schema_id] = update
            else:
                del table[update.schema_id]
    schemas, episodes = vector_points(memory)
    assert memory.knowledge is not None
    assert len(ids) == len(set(ids))
    assert len(table) == len(schemas) == len(memory.knowledge.bank.num_points)
    for point in schemas:
        told = msgspec.to_builtins(table[point.payload["schema_id"]])
        assert point.payload == {name: told[name] for name in point.payload}
        assert {"mean", "covariance", "num_points", "cycle_id", "bank_version"} <= set(point.payload)
    assert {point.payload["cycle_id"] for point in schemas} == {"fx.day-2", "fx.day-3"}
    assert len(episodes) == 250
    np.testing.assert_allclose([np.linalg.norm(e.vector) for e in episodes], 1.0)


def test_an_outbox_ends_with_policy_and_report_and_its_files_are_as_told(
    settings: Settings, first: NightResult
) -> None:
    night = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1), duplicates=7))
    assert [r.topic for r in night.outbox[-2:]] == [POLICY_UPDATES, SLEEP_REPORTS]
    policy = decode(PolicyUpdate, night.outbox[-2].value)
    assert not Path(policy.location).is_absolute()
    weights = load_weights(Path(settings.data_dir) / policy.location, policy.sha256)
    assert night.memory.knowledge is not None
    assert array_digest(weights) == array_digest(night.memory.knowledge.slow)
    report = decode(SleepReport, night.outbox[-1].value)
    assert report == night.report
    assert report.digest == night.memory.digest() == first.memory.digest()
    assert report.metrics["ingest_duplicates"] == 7


def test_states_far_from_all_schemas_are_flagged_from_the_second_night(settings: Settings) -> None:
    """Ten planted outliers are found by the model of the night before, and few others."""
    memory = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1))).memory
    rows = rows_of(settings, 2)
    state = rows.state.copy()
    state[::25] += 60.0
    following = np.minimum(np.arange(250) + 2, 249)
    night = sleep(settings, memory, night_of(2, replace(rows, state=state, next_state=state[following])))
    assert 10 <= night.report.metrics["anomalies"] <= 35


def test_the_threshold_comes_from_states_that_were_new_when_measured(settings: Settings) -> None:
    """A night adds its rows' distances by the model before it, and the latest `calibration_rows` count.

    So does the density's judgement of them, by the schemas of the night before.
    """
    first = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1))).memory
    rows = rows_of(settings, 2)
    second = sleep(settings, first, night_of(2, rows)).memory
    assert first.knowledge is not None
    assert first.knowledge.anomaly is not None
    assert second.knowledge is not None
    assert second.knowledge.anomaly is not None
    data = Path(settings.data_dir)
    model = AnomalyModel.load(data / first.knowledge.anomaly.location, first.knowledge.anomaly.sha256)
    tonight, _ = model.distances(rows.sorted().state)
    expected = np.concatenate([first.knowledge.calibration, tonight])
    assert second.knowledge.calibration.tolist() == expected.tolist()
    x = first.knowledge.scale.standardise(rows.sorted().state)
    density = first.knowledge.density.learn(
        first.knowledge.bank, first.knowledge.background, x, settings.neocortex.neighbour_gap
    )
    assert second.knowledge.density.log_weights.tolist() == density.log_weights.tolist()
    assert np.ptp(first.knowledge.density.log_weights) > 0
    threshold = AnomalyModel.load(
        data / second.knowledge.anomaly.location, second.knowledge.anomaly.sha256
    ).threshold
    rank = math.ceil((len(expected) + 1) * (1 - settings.atlas.anomaly_rate))
    assert threshold == np.sort(expected)[min(rank, len(expected)) - 1]
    short = msgspec.structs.replace(
        settings,
        data_dir=f"{settings.data_dir}-short",
        atlas=msgspec.structs.replace(settings.atlas, calibration_rows=100),
    )
    memory = sleep(short, Memory.empty(MARKET), night_of(1, rows_of(short, 1))).memory
    memory = sleep(short, memory, night_of(2, rows)).memory
    assert memory.knowledge is not None
    assert len(memory.knowledge.calibration) == 100


def test_a_partition_without_a_cut_is_named(settings: Settings) -> None:
    given = replace(night_of(1, rows_of(settings, 1)), missing=(2, 3))
    assert any("partition 2, 3" in note for note in sleep(settings, Memory.empty(MARKET), given).report.notes)


def test_late_rows_are_counted(settings: Settings) -> None:
    """Rows stamped before the last close that come a night later take part and are counted."""
    memory = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1))).memory
    late = Transitions.concatenate([rows_of(settings, 1, 270).take(slice(250, None)), rows_of(settings, 2)])
    night = sleep(settings, memory, night_of(2, late))
    assert night.report.metrics["rows_late"] == 20
    assert night.report.metrics["rows_consolidated"] == 270


def test_a_feature_without_variance_is_refused_by_name(settings: Settings) -> None:
    rows = rows_of(settings, 1)
    state = rows.state.copy()
    state[:, 2] = 1.0
    with pytest.raises(ConfigError, match="volume"):
        sleep(settings, Memory.empty(MARKET), night_of(1, replace(rows, state=state)))


def test_a_map_that_cannot_be_drawn_does_not_cost_the_night(settings: Settings, first: NightResult) -> None:
    """On the first night there is none, on the second the last one stays; the digest does not hold the map."""

    class Mapless(InProcessWorkers):
        def lay_out(self, request: MapRequest) -> MapResult:
            raise MapError(f"{len(request.points)} points have no place")

    blind = Mapless(settings)
    one = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1)), workers=blind)
    assert one.memory.knowledge is not None
    assert first.memory.knowledge is not None
    assert len(one.memory.knowledge.drawing.ids) == 0
    assert any("points have no place" in note for note in one.report.notes)
    assert one.memory.digest() == first.memory.digest()
    two = sleep(settings, first.memory, night_of(2, rows_of(settings, 2)), workers=blind)
    assert two.memory.knowledge is not None
    assert (
        two.memory.knowledge.drawing.coordinates.tobytes()
        == first.memory.knowledge.drawing.coordinates.tobytes()
    )


def test_a_session_is_slept_once_and_by_its_own_market(settings: Settings, first: NightResult) -> None:
    """Nothing is written for a session that the memory holds, nor for another market's."""
    with pytest.raises(SessionError, match="runs once"):
        sleep(settings, first.memory, night_of(1, rows_of(settings, 1)))
    other = replace(night_of(2, rows_of(settings, 2)), market="index")
    with pytest.raises(SessionError, match="index"):
        sleep(settings, first.memory, other)
    assert list(Path(settings.data_dir).rglob("*.npz")) == []


def test_an_owner_that_has_lost_the_market_writes_nothing(settings: Settings) -> None:
    def guard() -> None:
        raise SessionError("epoch 3 is old")

    with pytest.raises(SessionError):
        sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1)), guard=guard)
    assert list(Path(settings.data_dir).rglob("*.npz")) == []


def test_ids_that_only_begin_alike_are_told_apart() -> None:
    """Digests are looked up exactly, at both ends of the sorted array and between."""
    ids = np.array([b"a", b"a ", b"b", b""], "S64")
    known = np.sort(id_digests(ids))
    assert is_known(ids, known).all()
    assert not is_known(np.array([b"c", b"aa", b"a  "], "S64"), known).any()
    assert not is_known(ids, known[:0]).any()


def test_a_fifth_is_held_out_in_runs_of_whole_timestamps() -> None:
    """Copies of one bar are on one side; with few bars rows are dealt singly; four rows hold out none."""
    bars = np.repeat(np.arange(100) * 60, 20)
    out = held_out(bars)
    assert out.mean() == pytest.approx(0.2)
    assert all(len(set(out[bars == bar])) == 1 for bar in np.unique(bars))
    assert held_out(np.full(100, 7)).mean() == pytest.approx(0.2)
    assert held_out(np.full(5, 7)).tolist() == [False] * 4 + [True]
    assert not held_out(np.full(4, 7)).any()
    assert held_out(np.zeros(0, np.int64)).shape == (0,)


def test_days_do_not_overlap() -> None:
    """What the other tests rest on: a day's rows lie before its close and after the last one."""
    settings = settings_for(Path("unused"))
    rows = rows_of(settings, 2, 650)
    assert night_of(1, rows).closed_at < rows.timestamp.min()
    assert rows.timestamp.max() <= night_of(2, rows).closed_at < 3 * DAY
