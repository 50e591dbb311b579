"""The environment: what it says, what holds when it is silent, and what is prepared for others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources import settings as module
from resources.errors import UnusableFolderError
from resources.settings import engine_hash, prepare, settings, source_hash

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "GAUNTLET_EVENT_LOG", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that what `prepare` sets is taken back
        monkeypatch.delenv(name)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of two files to hash."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "bars.py").write_text("1\n")
    (tmp_path / "engine" / "costs.py").write_text("2\n")
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path)
    source_hash.cache_clear()
    yield tmp_path / "engine"
    source_hash.cache_clear()


def test_where_nothing_is_said_the_project_is_the_checkout_and_its_home_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GAUNTLET_HOME")
    assert settings().project == CHECKOUT
    assert settings().home == CHECKOUT / ".gauntlet"


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", "")
    monkeypatch.setenv("GAUNTLET_PROJECT", "")
    assert settings().home == CHECKOUT / ".gauntlet"


def test_a_project_elsewhere_has_its_home_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAUNTLET_HOME")
    monkeypatch.setenv("GAUNTLET_PROJECT", str(tmp_path))
    assert settings().project == tmp_path.resolve()
    assert settings().home == tmp_path.resolve() / ".gauntlet"


def test_a_relative_home_is_one_place_wherever_one_goes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAUNTLET_HOME", "state")
    assert settings().home == tmp_path.resolve() / "state"


def test_all_state_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path))
    current = prepare()
    places: list[Path | str] = [current.lake, current.ledger, current.warehouse, current.lock, current.dagster]
    places += [os.environ[name] for name in ("DAGSTER_HOME", "GAUNTLET_EVENT_LOG", "NUMBA_CACHE_DIR")]
    assert all(Path(place).is_relative_to(current.home) for place in places)


def test_a_numba_cache_that_was_chosen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "chosen")
    prepare()
    assert os.environ["NUMBA_CACHE_DIR"] == "chosen"


def test_dagster_yaml_is_copied_when_it_differs_and_only_then() -> None:
    copy = prepare().dagster / "dagster.yaml"
    original = (CHECKOUT / "dagster.yaml").read_bytes()
    assert copy.read_bytes() == original
    os.utime(copy, (0, 0))
    prepare()
    assert copy.stat().st_mtime == 0
    copy.write_text("telemetry: {enabled: true}\n")
    prepare()
    assert copy.read_bytes() == original


def test_a_home_that_cannot_be_made_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for home in ("/dev/null/x", str(file), "/proc/gauntlet"):
        monkeypatch.setenv("GAUNTLET_HOME", home)
        with pytest.raises(UnusableFolderError, match=f"GAUNTLET_HOME is {home}.*, which cannot be used: .*set"):
            prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "home"))
    prepare().home.chmod(0o500)
    with pytest.raises(UnusableFolderError, match="it cannot be written"):
        prepare()


@pytest.mark.parametrize("folder", ["a=b", "a?b", "a[b]", "a|b", "a\\b", "a%20b", "a\tb"])
def test_a_home_below_which_nothing_can_be_stored_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / folder))
    with pytest.raises(UnusableFolderError, match="may be in its path"):
        prepare()
    assert not (tmp_path / folder).exists()


@pytest.mark.parametrize("variable", ["GAUNTLET_PROJECT", "GAUNTLET_HOME"])
def test_the_folder_of_a_person_who_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "~nobody-of-that-name/x")
    with pytest.raises(UnusableFolderError, match=f"{variable} is ~nobody-of-that-name/x, which cannot be used"):
        settings()


def test_the_hash_of_sources_is_a_sha256_over_all_of_them(sources: Path) -> None:
    whole = source_hash.__wrapped__("engine/*.py")
    assert whole.startswith("sha256:")
    assert len(whole) == len("sha256:") + 64
    (sources / "costs.py").write_text("3\n")
    assert source_hash.__wrapped__("engine/*.py") != whole


def test_the_hash_of_sources_knows_which_file_says_what(sources: Path) -> None:
    before = source_hash.__wrapped__("engine/*.py")
    (sources / "bars.py").write_text("2\n")
    (sources / "costs.py").write_text("1\n")
    assert source_hash.__wrapped__("engine/*.py") != before
    (sources / "bars.py").write_text("1\n2\n")
    (sources / "costs.py").write_text("")
    assert source_hash.__wrapped__("engine/*.py") != before


def test_a_file_that_two_patterns_match_counts_once(sources: Path) -> None:
    assert sources.is_dir()
    assert source_hash.__wrapped__("engine/*.py", "engine/bars.py") == source_hash.__wrapped__("engine/*.py")


def test_an_edit_while_a_process_runs_does_not_change_what_it_says_it_runs(sources: Path) -> None:
    before = engine_hash()
    (sources / "bars.py").write_text("edited\n")
    assert engine_hash() == before
