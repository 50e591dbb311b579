"""A file of an older schema becomes one of the newest, and stays itself otherwise."""

from pathlib import Path

import pytest

from quality.configuration import parse
from quality.documents import compose
from quality.errors import ConfigurationError
from quality.formats import Format
from quality.migrations import MIGRATIONS, NEWEST, migrated

SHIPPED = sorted((Path(__file__).parents[2] / "resources/formats").glob("*.yaml"))
BEFORE = """\
# What the desk's own recorder writes.

# Closing stamps, Frankfurt.
name: recorder
about: our own   # since 2014
positions: [ts, open, high, low, close]
times: {patterns: [iso], zone: Europe/Berlin, label: close}
"""


def test_a_layout_from_before_schemas_says_one_and_keeps_every_other_byte() -> None:
    after = migrated(BEFORE, "formats", file="recorder.yaml")
    assert after.schemas == (0, 1)
    assert after.text == BEFORE.replace("name: recorder", "schema: 1\nname: recorder")
    assert parse(after.text, Format, file="recorder.yaml") == parse(BEFORE, Format, file="recorder.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_layout_of_the_package_was_migrated_and_means_what_it_meant(path: Path) -> None:
    text = path.read_text()
    assert migrated(text, "formats", file=path.name) == (text, (1,))
    before = text.replace("schema: 1\n", "", 1)
    assert migrated(before, "formats", file=path.name).text == text
    assert parse(before, Format, file=path.name) == parse(text, Format, file=path.name)


@pytest.mark.parametrize(
    "text",
    ["\ufeff" + BEFORE, "---\n" + BEFORE, BEFORE.replace("\n", "\r\n"), "name: a\nabout: b"],
    ids=["a mark of byte order", "a document's start", "other ends of lines", "no end of the last line"],
)
def test_files_of_every_kind_of_editor_are_read_afterwards(text: str) -> None:
    after = migrated(text.removeprefix("\ufeff"), "formats", file="it.yaml").text
    assert compose(after, file="it.yaml").values["schema"] == 1
    assert ("\r\n" in after) == ("\r\n" in text)
    assert after.count("\r\n") in (0, after.count("\n"))


def test_what_was_migrated_needs_no_more() -> None:
    once = migrated(BEFORE, "formats", file="it.yaml").text
    assert migrated(once, "formats", file="it.yaml") == (once, (1,))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("# a\nschema: 2\nname: a\n", "strategies",
         "it.yaml:2: schema is 2, expected at most 1: a newer Gauntlet wrote it, so update this one, or take the file as "),
        ("schema: one\n", "datasets", "it.yaml:1: schema is 'one', expected 1"),
        ("schema: true\n", "policies", "it.yaml:1: schema is true, expected 1"),
        ("schema: -1\n", "formats", "it.yaml:1: schema is -1, expected 1"),
        ("name: a\n", "strategies", "it.yaml:1: schema is missing, expected 1"),
        ("name: [\n", "formats", "it.yaml:2: the file cannot be read as YAML"),
    ],
    ids=["newer", "a word", "a truth", "never was", "only layouts were without", "no YAML"],
)  # fmt: skip
def test_a_schema_that_nothing_is_known_of_is_refused_with_its_line(text: str, kind, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        migrated(text, kind, file="it.yaml")
    assert str(caught.value).startswith(said)


def test_every_older_schema_has_a_way_to_the_newest() -> None:
    for kind, steps in MIGRATIONS.items():
        assert sorted(steps) == list(range(min(steps), NEWEST[kind]))
