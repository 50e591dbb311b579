"""Layouts as data: what is refused in one, and that those of the package and their guide hold together."""

import re
from pathlib import Path

import pytest

from quality.configuration import parse
from quality.errors import ConfigurationError
from quality.formats import Format, Times, known_zone
from resources.bar_files.layouts import load_formats

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/bar-files.md").read_text()
GOOD = """\
name: mine
about: my own
positions: [ts, open, high, low, close]
times: {patterns: [iso]}
"""


def with_lines(**changed: str) -> str:
    kept = [line for line in GOOD.splitlines() if line.split(":")[0] not in changed]
    return "\n".join([*kept, *(f"{key}: {value}" for key, value in changed.items() if value)])


def test_a_layout_has_defaults_for_the_usual():
    layout = parse(GOOD, Format, file="mine.yaml")
    assert (layout.container, layout.delimiters, layout.decimal_mark, layout.times.label) == (
        "csv",
        (",",),
        ".",
        "open",
    )
    assert layout.times.spelled()[0] == "%Y-%m-%d %H:%M:%S"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"positions": "[ts, open, high, low]"}, "a column for close", id="a price missing"),
        pytest.param(
            {"positions": "[open, high, low, close]"}, "no stamp that can be read one way only", id="no stamp"
        ),
        pytest.param({"positions": "[ts, time, open, high, low, close]"}, "no stamp", id="two stamps"),
        pytest.param({"positions": "[time, open, high, low, close]"}, "no stamp", id="a time without its day"),
        pytest.param({"positions": "[ts, ts, open, high, low, close]"}, "ts twice", id="a role twice"),
        pytest.param({"positions": "[ts, open, high, low, last]"}, "positions[4] is 'last'", id="an unknown role"),
        pytest.param({"names": "{ts: [a]}"}, "either names or positions", id="names and positions"),
        pytest.param({"positions": ""}, "either names or positions", id="neither"),
        pytest.param({"delimiters": "[]"}, "at least one", id="no delimiter"),
        pytest.param(
            {"delimiters": "['::']"}, "delimiters[0] is '::', expected a comma", id="a delimiter of two characters"
        ),
        pytest.param({"times": "{zone: UTC}"}, "does not say how a stamp is written", id="stamps without a pattern"),
        pytest.param({"times": "{epoch: min}"}, "times.epoch is 'min'", id="an unknown unit"),
        pytest.param({"times": "{patterns: [iso], label: end}"}, "times.label is 'end'", id="an unknown label"),
        pytest.param({"times": "{patterns: [iso], zone: EDT}"}, "expected a time zone", id="an unknown zone"),
        pytest.param({"thousands_mark": "'.'"}, "another mark than decimal_mark", id="one mark for both"),
        pytest.param({"price_divisor": "0"}, "price_divisor is 0, expected more than 0", id="a divisor of 0"),
        pytest.param({"delimeters": "[';']"}, "did you mean 'delimiters'", id="a misspelt key"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(changed, said):
    with pytest.raises(ConfigurationError, match=r"mine.yaml:\d") as refused:
        parse(with_lines(**changed), Format, file="mine.yaml")
    assert said in str(refused.value)


def test_a_header_that_cannot_be_used_goes_with_positions():
    text = "name: mine\nabout: x\nheading: a,b\ntimes: {patterns: [iso]}\nnames: {ts: [t], open: [o], high: [h], low: [l], close: [c]}"
    with pytest.raises(ConfigurationError, match="heading is 'a,b', expected positions"):
        parse(text, Format, file="mine.yaml")


@pytest.mark.parametrize(("zone", "known"), [("UTC", True), ("America/New_York", True), ("EDT", False), ("", False)])
def test_a_zone_is_known_where_its_rules_are(zone, known):
    assert known_zone(zone) is known


def test_every_layout_of_the_package_says_what_it_is_of_and_is_in_the_guide():
    layouts = load_formats()
    assert {*re.findall(r"^\| `(\w+)` \|", GUIDE.split("## The layouts")[1], re.MULTILINE)} == set(layouts)
    assert all(len(layout.about) > 20 for layout in layouts.values())


@pytest.mark.parametrize(("model", "heading"), [(Format, "## The keys"), (Times, "### times")], ids=["layout", "times"])
def test_every_key_is_in_the_guide_and_no_other(model, heading):
    section = re.split(r"^#", GUIDE.split(f"{heading}\n", 1)[1], flags=re.MULTILINE)[0]
    assert {*re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)} == {
        field.alias or name for name, field in model.model_fields.items()
    }


def test_the_layout_in_the_guide_can_be_used_as_it_stands():
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert parse(example, Format, file="example.yaml").name == "my_broker"
