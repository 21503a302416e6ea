"""Settings: flag over environment over file over default, each value with its source."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from janus_memory.config import KafkaSettings, MarketSettings, RuleSettings, Settings
from janus_memory.errors import ConfigError
from janus_memory.settings import dump_settings, flatten, load_settings, settings_from


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "janus.toml"
    path.write_text(
        'seed = 3\n[kafka]\nbootstrap = "file:1"\nsasl_username = "file"\n'
        '[markets.EurUsd]\nfeatures = ["a", "b"]\naction_names = ["buy", "sell"]\n'
    )
    return path


def test_the_strongest_layer_wins_and_every_value_tells_where_it_comes_from(file: Path) -> None:
    env = {"JANUS_KAFKA__BOOTSTRAP": "env:2", "JANUS_KAFKA__SASL_USERNAME": "env", "HOME": "/root"}
    settings, source = settings_from(file, env, ["kafka.bootstrap=flag:3"])
    assert settings.kafka.bootstrap == "flag:3"
    assert settings.kafka.sasl_username == "env"
    assert settings.seed == 3
    assert settings.ingest.capacity == 10_000
    assert source["kafka.bootstrap"] == "flag"
    assert source["kafka.sasl_username"] == "environment JANUS_KAFKA__SASL_USERNAME"
    assert source["seed"] == f"file {file}"
    assert source["ingest.capacity"] == "default"
    assert set(source) == set(flatten(settings))


def test_text_from_the_environment_becomes_the_fields_type(file: Path) -> None:
    env = {
        "JANUS_INGEST__CAPACITY": "12",
        "JANUS_RAY__DASHBOARD": "false",
        "JANUS_POLICY__HIDDEN": "[8, 9]",
        "JANUS_NEOCORTEX__TAU_REL": "0.5",
        "JANUS_KAFKA__SASL_PASSWORD": "1234",
        "JANUS_MARKETS__EURUSD__PARTITIONS": "7",
    }
    settings, _ = settings_from(file, env, [])
    assert settings.ingest.capacity == 12
    assert settings.ray.dashboard is False
    assert settings.policy.hidden == (8, 9)
    assert settings.neocortex.tau_rel == 0.5
    assert settings.kafka.sasl_password == "1234"  # noqa: S105  (a made-up one, all digits)
    assert settings.markets["EurUsd"].partitions == 7


def test_the_services_read_the_environment_over_their_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JANUS_SEED", "9")
    monkeypatch.setenv("JANUS_CONFIG", "only names a file")
    assert load_settings(file).seed == 9


@pytest.mark.parametrize(
    ("env", "flags", "key", "near", "source"),
    [
        ({"JANUS_KAFKA__BOOTSRAP": "x"}, [], "kafka.bootsrap", "kafka.bootstrap", "JANUS_KAFKA__BOOTSRAP"),
        ({}, ["ingest.capacty=1"], "ingest.capacty", "ingest.capacity", "flag"),
        ({}, ["capacity=1"], "capacity", "ingest.capacity", "flag"),
        ({}, ["seed.x=1"], "seed.x", "seed", "flag"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    env: dict[str, str], flags: list[str], key: str, near: str, source: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from(None, env, flags)
    assert f"unknown setting {key} " in str(caught.value)
    assert f"the nearest one is {near}" in str(caught.value)
    assert source in str(caught.value)


def test_an_unknown_key_of_a_file_and_of_a_market_are_refused(file: Path) -> None:
    file.write_text(file.read_text() + "calender = 'CMES'\n")
    with pytest.raises(
        ConfigError, match=r"markets\.EurUsd\.calender .*nearest one is markets\.EurUsd\.calendar"
    ):
        settings_from(file, {}, [])


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("ingest.capacity=many", "ingest.capacity = 'many' from flag: Expected `int`"),
        ("kafka.security_protocol=SSH", "kafka.security_protocol = 'SSH' from flag: Invalid enum value"),
        ("kafka=x", "kafka from flag: this is a table"),
        ("kafka.bootstrap", "expected KEY=VALUE"),
    ],
)
def test_a_wrong_value_names_its_key_and_its_source(flag: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from(None, {}, [flag])
    assert said in str(caught.value)


def test_a_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        settings_from(tmp_path / "absent.toml", {}, [])
    (tmp_path / "bad.toml").write_text("seed = = 1")
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML: .*line 1"):
        settings_from(tmp_path / "bad.toml", {}, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[markets.m]\npartitions = 2", "features"),
        ('[markets.m]\nfeatures = ["a"]', "set either"),
        ('[markets.m]\nfeatures = ["a"]\nn_actions = 2\npartitions = 0', "at least 1"),
        ('[markets."a b"]\nfeatures = ["a"]\nn_actions = 2', "part of its topic"),
    ],
)
def test_a_market_that_cannot_work_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        settings_from(tmp_path / "m.toml", {}, [])


@example(text='\x7f\\\n"é\u2028', number=float("inf"))
@given(text=st.text(st.characters(exclude_categories=["Cs"])), number=st.floats(allow_nan=False))
def test_dumped_settings_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float
) -> None:
    market = MarketSettings(
        features=("a", text or "b") if text != "a" else ("a",),
        action_names=("buy", "sell"),
        rules=(RuleSettings(name=text, text='"a" > 1', weight=number), RuleSettings(name="r", text="x")),
    )
    settings = Settings(
        seed=5,
        kafka=KafkaSettings(sasl_password=text, connect_timeout_s=number),
        markets={"m": market, "n-2": market},
    )
    path = tmp_path_factory.mktemp("dump") / "all.toml"
    path.write_text(dump_settings(settings), encoding="utf-8", newline="")
    assert settings_from(path, {}, [])[0] == settings


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert [key for key in flatten(Settings()) if f"`{key}`" not in text] == []
    assert [f.name for f in msgspec.structs.fields(MarketSettings) if f"`{f.name}`" not in text] == []
