"""A strategy to start from: its Python, its YAML, and a test of it that passes, made for a data set of the project.

What is written fits the data set it is for: instruments that settle in one currency, costs that cover them, a
walk-forward of some six windows. Before anything is written it is held against the project, and refused where a
person would be.
"""

import json
import keyword
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from quality.datasets import Dataset
from quality.documents import nearest
from quality.references import costs_for
from resources.errors import TakenNameError, UnknownDatasetError, UnusableNameError
from resources.project import Project, version_of

VERSION = "1.0.0"
_USUAL_DATASET, _USUAL_TIMEFRAME = "crypto_5m", "1h"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST_NAME = 60
_IMPORTED = {"Bars", "Signals", "Strategy"}
_DAYS_PER_YEAR = 365.25

_SIGNAL = '''\
"""Long while the close is above its mean over `length` bars: entered and left where it crosses."""

from engine.causal import Bars, crossed_above, crossed_below
from engine.indicators import sma
from engine.strategy import Signals, Strategy


class {class_name}(Strategy):
    length: int = 50

    def signals(self, bars: Bars) -> Signals:
        mean = sma(bars.close, self.length)
        return Signals(enter=crossed_above(bars.close, mean), exit=crossed_below(bars.close, mean))
'''
_CONFIGURATION = """\
# Everything about {name} but its signal. README.md and docs/guides/first-strategy.md say what each key means.
schema: 1
name: {name}
version: {version}
author: {author}
dataset: {dataset}
instruments: {instruments}
timeframe: {timeframe}
account: {{cash: 100000, currency: {currency}, capital: shared}}
params:
  length: {{value: 50, min: 30, max: 70, step: 20}}   # the grid that a walk-forward chooses from; every set is a trial
size: {{model: risk_per_trade, risk: 0.005, cap: 0.2}}
exits: {{stop: {{atr: 2, length: 14}}, targets: default}}
costs: {costs}
walk_forward: {{in_sample: {in_sample}d, out_of_sample: {out_of_sample}d, purge: 1d}}
"""
_TEST = '''\
"""What {name} decides, on bars written down by hand."""

from pathlib import Path

from engine.bars import bars_closing_at
from engine.strategy import decide
from resources.project import strategy_called

FLAT, ABOVE, BELOW = [100.0] * 60, [101.0] * 5, [99.0] * 5


def decided(closes):
    strategy = strategy_called("{name}", root=Path(__file__).parents[2])
    return decide(strategy, {{"{timeframe}": bars_closing_at(closes, "{timeframe}")}}, "{timeframe}")


def test_it_enters_where_the_close_crosses_its_mean_from_below():
    assert decided(FLAT + ABOVE + BELOW)["enter"].arg_true().to_list() == [60]


def test_it_leaves_where_the_close_crosses_its_mean_from_above():
    assert decided(FLAT + ABOVE + BELOW)["exit"].arg_true().to_list() == [65]


def test_it_says_nothing_where_nothing_moves():
    assert not decided(FLAT)["enter"].any()
'''


def starter(
    project: Project, name: str, *, root: Path, dataset: str | None, timeframe: str | None, author: str, at: date
) -> Mapping[Path, str]:
    """The three files of a new strategy by their paths, none of which is there yet.

    Args:
        project: it is to belong to.
        name: its own.
        root: the project's folder.
        dataset: of the project; the usual one by default.
        timeframe: one that the data set has; an hour by default where there is one.
        author: of its versions.
        at: today, up to which a data set without an end is taken to reach.

    Raises:
        UnusableNameError: a name that no strategy may have.
        TakenNameError: one of the files is there.
        UnknownDatasetError: a data set that the project has not.
        ConfigurationError: what would be written does not fit, a timeframe for instance.
    """
    class_name = _class_name(name)
    signal, configuration = root / f"strategies/{name}.py", root / f"strategies/{name}.yaml"
    test = root / f"tests/strategies/test_{name}.py"
    for path in (signal, configuration, test):
        if path.exists():
            raise TakenNameError(name, path.relative_to(root).as_posix())
    of = _dataset(project, dataset)
    bars = timeframe or (_USUAL_TIMEFRAME if _USUAL_TIMEFRAME in of.timeframes else of.timeframe)
    said = {"name": name, "version": VERSION, "author": _written(author), "dataset": of.name, "timeframe": bars}
    text = _CONFIGURATION.format(**said, **_fitting(project, of, at))
    source = _SIGNAL.format(class_name=class_name)
    version_of(project, text=text, source=source, label=f"strategies/{name}")
    return {signal: source, configuration: text, test: _TEST.format(name=name, timeframe=bars)}


def write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _class_name(name: str) -> str:
    """`dip_buyer` is a file, `DipBuyer` its class."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:_LONGEST_NAME].rstrip("_")
        raise UnusableNameError(name, f"words of a-z and 0-9 joined by _, at most {_LONGEST_NAME} characters", plain)
    made = "".join(word.capitalize() for word in name.split("_"))
    if made in _IMPORTED or keyword.iskeyword(made):
        raise UnusableNameError(name, f"a name whose class is not {made}, which means something already", f"my_{name}")
    return made


def _dataset(project: Project, name: str | None) -> Dataset:
    known = project.datasets
    wanted = name or (_USUAL_DATASET if _USUAL_DATASET in known else min(known))
    if wanted not in known:
        raise UnknownDatasetError(wanted, known, nearest(wanted, known))
    return known[wanted]


def _fitting(project: Project, dataset: Dataset, at: date) -> dict[str, object]:
    """What of the file depends on the data set."""
    currency = dataset.instruments[0].settle
    traded = [one.id for one in dataset.instruments if one.settle == currency and not one.perpetual]
    days = ((dataset.end or at) - dataset.start).days + 1
    n_sessions = int(days / _DAYS_PER_YEAR * project.promotion.periods_per_year[dataset.calendar])
    return {
        "currency": currency,
        "instruments": "all" if len(traded) == len(dataset.instruments) else f"[{', '.join(traded)}]",
        "costs": costs_for(dataset, project.costs)[0],  # a project is not loaded without one
        "in_sample": max(n_sessions // 3, 2),
        "out_of_sample": max(-(-n_sessions // 9), 1),
    }


def _written(text: str) -> str:
    """As YAML reads it back."""
    plain = re.fullmatch(r"[A-Za-z][\w .-]*", text) and text.lower() not in {"null", "true", "false"}
    return text if plain else json.dumps(text)
