"""Settings: defaults, environment, refusals by name, and that the README lists all of them."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.errors import InvalidInputError
from app.settings import DEFAULT_ARTIFACT, ELSEWHERE, Settings

README = Path(__file__).parents[2] / "README.md"


def test_settings_defaults_are_those_that_others_rely_on() -> None:
    settings = Settings.from_env({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.state == Path.home() / ".local/share/tyntegra"
    assert settings.artifact == DEFAULT_ARTIFACT
    assert (settings.device, settings.precision, settings.store) == ("auto", "auto", "embedded")
    assert settings.demo
    assert settings.keys is None


def test_from_env_reads_every_kind_of_value(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "TYNTEGRA_PORT": " 9000 ",
            "TYNTEGRA_HOSTS": "A.example, b.example,",
            "TYNTEGRA_STATE": "~/state",
            "TYNTEGRA_KEYS": str(tmp_path),
            "TYNTEGRA_DRAIN_S": "1.5",
            "TYNTEGRA_HOST": "",
            "PATH": "/bin",
        }
    )
    assert settings.port == 9000
    assert settings.hosts == ("a.example", "b.example")
    assert settings.state == Path.home() / "state"
    assert settings.keys == tmp_path
    assert settings.drain_s == 1.5
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("value", "meant"),
    [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False), ("Off", False)],
)
def test_from_env_reads_switches(value: str, meant: bool) -> None:
    assert Settings.from_env({"TYNTEGRA_DEMO": value}).demo is meant


@pytest.mark.parametrize(
    ("variable", "suggested"),
    [
        ("TYNTEGRA_ARTIFAKT", "TYNTEGRA_ARTIFACT"),
        ("TYNTEGRA_MAX_TEXT", "TYNTEGRA_MAX_TEXTS"),
        ("TYNTEGRA_port", "TYNTEGRA_PORT"),
        ("TYNTEGRA_DATAS", "TYNTEGRA_DATA"),
    ],
)
def test_from_env_misspelt_variable_is_refused_with_a_suggestion(
    variable: str, suggested: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"{variable} .* mean {suggested}\\?"):
        Settings.from_env({variable: "1"})


def test_from_env_strange_variable_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"known are TYNTEGRA_HOST, TYNTEGRA_PORT"):
        Settings.from_env({"TYNTEGRA_QQQQQQQQQQQQQQQQQ": "1"})


@pytest.mark.parametrize("variable", sorted(ELSEWHERE))
def test_from_env_variable_of_another_part_is_left_alone(variable: str) -> None:
    assert Settings.from_env({variable: "x"}) == Settings.from_env({})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "70000", "less than or equal to 65535"),
        ("PORT", "eighty", "valid integer"),
        ("DEMO", "perhaps", "valid boolean"),
        ("DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("DRAIN_S", "nan", "less than or equal to 60"),
        ("STORE", "embeded", "'embeded' cannot be used: it names no engine that is known"),
        ("STORE", "u:secret@h/db", "it names no engine that is known"),
        ("STORE", "mysql://u:secret@h/db", "it names no engine that is known"),
        ("STORE", "postgresql://u:secret@h:port/db", "host or port cannot be read"),
        ("STORE", "postgresql://u:sec@secret@h/db", "%40"),
        ("STORE", "postgresql://u:secret/w@h/db", "%2F"),
        ("STORE", "postgresql://u:#secret@h/db", "%23"),
        ("STORE", "postgresql://u:sec ret-secret@h/db", "a space"),
        ("STORE", "http://:6333", "host or port cannot be read"),
        ("STORE", "http://h:6333?api_key=secret", "host or port cannot be read"),
        ("STORE", "http://u:secret@h:6333", "TYNTEGRA_QDRANT_KEY"),
        ("STORE", "http://h:6333,ftp://h:6333", "host or port cannot be read"),
        ("QDRANT_PREFIX", "a/b", "should match pattern"),
        ("QDRANT_READ", "some", "'one', 'majority'"),
    ],
)
def test_from_env_value_that_does_not_fit_is_refused(
    variable: str, value: str, message: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        Settings.from_env({f"TYNTEGRA_{variable}": value})
    assert f"TYNTEGRA_{variable}" in refusal.value.message
    assert message in refusal.value.message
    assert "secret" not in refusal.value.message
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(
    "store",
    [
        "embedded",
        "postgresql:///documents",
        "postgres://h",
        "postgresql://u:s%40ecret@db.example:5432/documents?sslmode=require",
        "postgresql://u@a:5432,b:5433/documents?target_session_attrs=read-write",
        "postgresql://u@[::1]:5432/documents",
        "http://localhost:6333",
        "https://qdrant.example",
        "http://a:6333,http://b:6333",
    ],
)
def test_settings_take_the_address_of_any_engine(store: str) -> None:
    assert Settings.from_env({"TYNTEGRA_STORE": store}).store == store


def test_settings_never_show_the_password_of_the_store() -> None:
    settings = Settings(store="postgresql://u:secret@h/db")
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)
    with pytest.raises(ValidationError) as refusal:
        Settings(store="postgresql://u:secret@h:port/db")
    assert "secret" not in str(refusal.value)


def test_settings_never_show_the_key_of_the_store() -> None:
    settings = Settings.from_env({"TYNTEGRA_QDRANT_KEY": "secret"})
    assert settings.qdrant_key is not None
    assert settings.qdrant_key.get_secret_value() == "secret"
    assert "secret" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_readme_table_has_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `TYNTEGRA_(\w+)` \| (.+?) \| (.+) \|$", README.read_text(), re.M)
    documented = {name.lower(): (default, meaning) for name, default, meaning in rows}
    assert list(documented) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, meaning = documented[name]
        assert meaning == field.description
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert default == f"`{field.default:g}`" or default == f"`{field.default}`"
