"""The project: what people wrote in datasets/, strategies/ and policies/, held together.

1. Every file is read by itself: YAML into its model, a strategy's Python into its class, once it is
   found to say nothing that `quality.vocabulary` does not allow.
2. What could be read is held against the rest: names that must exist, values that must fit.
3. Any problem at all, and one ConfigurationError says every one of them, by file and line; so
   whoever has a Project has one that is whole.

A strategy is two files of one name, or one YAML file that names signal classes. Its Python is read and
not run (`quality/declarations.py`): it runs where a strategy of it is made. Whoever does not sit at a terminal reads with `load_unattended`,
for which a bad strategy file is left out alone and named.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from engine.signals.composed import composed
from engine.signals.registry import SIGNALS
from engine.strategy import Strategy
from quality import references, universe
from quality.configuration import read
from quality.datasets import Dataset
from quality.declarations import Declared, declared
from quality.documents import Document, compose, nearest
from quality.errors import ConfigurationError, Problem, Refusal
from quality.hashes import code_hash, document_hash
from quality.migrations import migrated, schema_of
from quality.policies import CalendarsPolicy, Correction, Costs, CostsPolicy, ServiceLevel, SlaPolicy
from quality.promotion import PromotionPolicy
from quality.regimes import RegimesPolicy, RegimeTerms
from quality.risk import Risk, RiskPolicy
from quality.strategies import StrategyConfiguration
from quality.universe import Universe, UniversePolicy
from resources.bar_files.layouts import load_formats
from resources.errors import UnknownStrategyError
from resources.sources import registry
from resources.user_code import made

Model = TypeVar("Model", bound=BaseModel)

_HASHED_SCHEMA = 1  # how a file is written is not what it says: a migration changes no version
_SUFFIXES = {"datasets": (".yaml",), "strategies": (".yaml", ".py"), "policies": (".yaml",)}


class StrategyDefinition(NamedTuple):
    """One strategy version: what its two files say, and the identity of each."""

    configuration: StrategyConfiguration
    signal: Callable[..., Strategy]  # makes one with parameters, which is when its Python runs
    source: str  # the text of the signal; none of one that is made of signal classes
    code_hash: str
    configuration_hash: str
    text: str = ""  # of the configuration
    file: str = ""  # the signal's, as tracebacks name it


class Project(NamedTuple):
    datasets: Mapping[str, Dataset]  # by name
    strategies: Mapping[str, StrategyDefinition]  # by name@version
    sla: Mapping[str, ServiceLevel]  # by section, as the costs
    costs: Mapping[str, Costs]
    corrections: Mapping[str, tuple[Correction, ...]]  # by calendar
    risk: Mapping[str, Risk]  # by section; empty without the file, as no strategy has to name one
    universes: Mapping[str, Universe]  # by section
    promotion: PromotionPolicy
    regimes: Mapping[str, RegimeTerms] = MappingProxyType({})  # by regime; without the file none, as risk
    names: frozenset[str] = frozenset()  # of all strategy files, of the bad ones too
    left_out: tuple[Problem, ...] = ()  # of strategies that cannot be used, and are not among `strategies`


class _File(NamedTuple, Generic[Model]):
    text: str
    document: Document
    model: Model


_NO_RISK = _File("", compose("schema: 1", file="policies/risk.yaml"), RiskPolicy(schema=1))
_NO_REGIMES = _File("", compose("schema: 1", file="policies/regimes.yaml"), RegimesPolicy(schema=1))


class _Signal(NamedTuple):
    file: str
    source: str
    declared: Declared


class _Known(NamedTuple):
    """What strategies name; None for what could not be read."""

    datasets: Mapping[str, Dataset | None]
    costs: Mapping[str, Costs] | None
    risk: Mapping[str, Risk] | None
    years: Mapping[str, int] | None
    regimes: Mapping[str, RegimeTerms] | None


def load(root: Path) -> Project:
    """Read the project under `root`.

    Raises:
        ConfigurationError: with every problem of every file, by file and line.
    """
    read_, shared, of_strategies = _read(root)
    if read_ is None or shared or of_strategies:
        raise ConfigurationError(_in_order([*shared, *of_strategies]))
    return read_


def load_unattended(root: Path) -> Project:
    """The same where nobody is there to mend a file: strategies with a problem are left out, and named.

    Raises:
        ConfigurationError: with every problem of data sets, policies and layouts.
    """
    read_, shared, of_strategies = _read(root)
    if read_ is None or shared:
        raise ConfigurationError(_in_order([*shared, *of_strategies]))
    return read_._replace(left_out=tuple(_in_order(of_strategies)))


def _read(root: Path) -> tuple[Project | None, list[Problem], list[Problem]]:
    """What could be read, what is wrong with what all share, and what with strategies."""
    problems = [*_misplaced(root), *_formats(root)]
    sla = _policy(root, "sla", SlaPolicy, problems)
    costs = _policy(root, "costs", CostsPolicy, problems)
    calendars = _policy(root, "calendars", CalendarsPolicy, problems)
    promotion = _policy(root, "promotion", PromotionPolicy, problems)
    universes = _policy(root, "universe", UniversePolicy, problems)
    risk = _policy(root, "risk", RiskPolicy, problems) if (root / "policies/risk.yaml").exists() else _NO_RISK
    there = (root / "policies/regimes.yaml").exists()
    regimes = _policy(root, "regimes", RegimesPolicy, problems) if there else _NO_REGIMES
    datasets = {path.stem: _yaml(root, path, Dataset, problems) for path in _files(root, "datasets", ".yaml")}

    years = promotion.model.periods_per_year if promotion else None
    if calendars and years is not None:
        problems += calendars.document.problems(references.of_calendars(calendars.model, calendars=years))
    for name, dataset in datasets.items():
        problems += _dataset_problems(name, dataset, root=root, sla=sla, years=years, costs=costs, universes=universes)
    known = _Known(
        datasets={name: dataset.model if dataset else None for name, dataset in datasets.items()},
        costs=costs.model.sections if costs else None,
        risk=risk.model.sections if risk else None,
        years=years,
        regimes=regimes.model.sections if regimes else None,
    )
    strategies, of_strategies = _strategies(root, known)
    if not (sla and costs and calendars and promotion and universes and risk and regimes):
        return None, problems, of_strategies
    project = Project(
        datasets={name: dataset for name, dataset in known.datasets.items() if dataset},
        strategies={definition.configuration.key: definition for definition in strategies},
        sla=sla.model.sections,
        costs=costs.model.sections,
        corrections=calendars.model.corrections,
        risk=risk.model.sections,
        universes=universes.model.sections,
        promotion=promotion.model,
        regimes=regimes.model.sections,
        names=frozenset(path.stem for suffix in (".yaml", ".py") for path in _files(root, "strategies", suffix)),
    )
    return project, problems, of_strategies


def version_of(project: Project, *, text: str, source: str, label: str) -> StrategyDefinition:
    """A strategy version of two texts, held against the project as its own files are; `label` names them in messages.

    `source` is empty for one that is made of signal classes.

    Raises:
        ConfigurationError: with every problem of the two.
    """
    document = compose(migrated(text, "strategies", file=f"{label}.yaml").text, file=f"{label}.yaml")
    configuration = _File(text, document, read(document, StrategyConfiguration))
    signal = _Signal(f"{label}.py", source, declared(source, file=f"{label}.py")) if source else None
    years = project.promotion.periods_per_year
    known = _Known(project.datasets, project.costs, project.risk, years, project.regimes)
    if problems := document.problems(_strategy_refusals(configuration.model, signal, known)):
        raise ConfigurationError(problems)
    return _definition(configuration, signal)


def strategy_called(name: str, *, root: Path) -> Strategy:
    """The strategy `name` of the project under `root`, with the parameters of its file: for tests of strategies.

    Raises:
        ConfigurationError: with every problem of the project, as `load`.
        UnknownStrategyError: it has no such strategy.
    """
    by_name = {one.configuration.name: one for one in load(root).strategies.values()}
    if name not in by_name:
        raise UnknownStrategyError(name, by_name, nearest(name, by_name))
    return by_name[name].signal(**by_name[name].configuration.parameters())


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.file, problem.line or 0))


def _files(root: Path, folder: str, suffix: str) -> list[Path]:
    return sorted((root / folder).glob(f"[!._]*{suffix}"))


def _misplaced(root: Path) -> Iterator[Problem]:
    for folder, suffixes in _SUFFIXES.items():
        if not (root / folder).is_dir():
            yield Problem(folder, None, "", "the folder is missing", "datasets, strategies and policies in the project")
        elif folder == "datasets" and not _files(root, folder, ".yaml"):
            expected = "at least one data set such as crypto_5m.yaml, as there is nothing to research without"
            yield Problem(folder, None, "", "the folder holds no .yaml file", expected)
        for path in _files(root, folder, ".yml"):
            yield Problem(f"{folder}/{path.name}", None, "", "the file is not read", f"the suffix {suffixes[0]}")


def _formats(root: Path) -> list[Problem]:
    """The project's own layouts of bar files, which are read only to be sure that they can be."""
    if (root / "formats").is_dir():
        try:
            load_formats(root)
        except ConfigurationError as error:
            return list(error.problems)
    return []


def _text(root: Path, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        problem = Problem(_name(root, path), line, "", "a byte that is not UTF-8", "a text file in UTF-8")
    except OSError as error:
        problem = Problem(_name(root, path), None, "", f"cannot be read ({error.strerror})", "a text file")
    raise ConfigurationError([problem])


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _yaml(root: Path, path: Path, model: type[Model], problems: list[Problem]) -> _File[Model] | None:
    try:
        text = _text(root, path)
        document = compose(text, file=_name(root, path))
        schema_of(document, path.parent.name)  # type: ignore[arg-type]  # one of the folders
        return _File(text, document, read(document, model))
    except ConfigurationError as error:
        problems += error.problems
        return None


def _policy(root: Path, name: str, model: type[Model], problems: list[Problem]) -> _File[Model] | None:
    path = root / "policies" / f"{name}.yaml"
    if path.exists():
        return _yaml(root, path, model, problems)
    problems.append(
        Problem(_name(root, path), None, "", "the file is missing", "a policy, as nothing is judged without")
    )
    return None


def _strategies(root: Path, known: _Known) -> tuple[list[StrategyDefinition], list[Problem]]:
    """Those that are whole, and what is wrong with the others."""
    problems: list[Problem] = []
    configurations = {
        path.stem: _yaml(root, path, StrategyConfiguration, problems) for path in _files(root, "strategies", ".yaml")
    }
    signals = {path.stem: _python(root, path, problems) for path in _files(root, "strategies", ".py")}
    definitions = []
    for name in sorted(configurations.keys() | signals.keys()):
        problems += _twin_problems(root, name, configurations, signals)
        configuration, signal = configurations.get(name), signals.get(name)
        if configuration is None:
            continue
        refusals = [*_misnamed(name, configuration.model.name), *_strategy_refusals(configuration.model, signal, known)]
        if refusals:
            problems += configuration.document.problems(refusals)
        elif (signal is None) == bool(configuration.model.signals):
            definitions.append(_definition(configuration, signal))
    return definitions, problems


def _python(root: Path, path: Path, problems: list[Problem]) -> _Signal | None:
    try:
        source = _text(root, path)
        return _Signal(str(path), source, declared(source, file=_name(root, path)))
    except ConfigurationError as error:
        problems += error.problems
        return None


def _misnamed(name: str, written: str) -> Iterator[Refusal]:
    if written != name:
        yield Refusal(("name",), f"{name!r}, as the file is called")


def _dataset_problems(
    name: str,
    dataset: _File[Dataset] | None,
    *,
    root: Path,
    sla: _File[SlaPolicy] | None,
    years: Mapping[str, int] | None,
    costs: _File[CostsPolicy] | None,
    universes: _File[UniversePolicy] | None,
) -> list[Problem]:
    if dataset is None:
        return []
    refusals = [
        *_misnamed(name, dataset.model.name),
        *references.of_dataset(
            dataset.model,
            sla_sections=sla.model.sections if sla else None,
            calendars=years,
            costs=costs.model.sections if costs else None,
        ),
    ]
    if universes:
        refusals += universe.of_dataset(dataset.model, universes=universes.model.sections)
    if dataset.model.name == name:
        refusals += registry.refusals(dataset.model, project=root)
    return dataset.document.problems(refusals)


def _twin_problems(
    root: Path, name: str, configurations: Mapping[str, object], signals: Mapping[str, object]
) -> Iterator[Problem]:
    if name in configurations and _is_composed(root, name):
        if name in signals:
            expected = "one of the two: signals in the .yaml, or a .py that says the signal"
            yield Problem(f"strategies/{name}.py", None, "", f"strategies/{name}.yaml has signals of its own", expected)
        return
    for suffix, have, others in ((".yaml", configurations, signals), (".py", signals, configurations)):
        if name not in have:
            alone = nearest(name, have.keys() - others.keys())
            found = f"the file is missing beside strategies/{name}{'.py' if suffix == '.yaml' else '.yaml'}"
            expected = "two files of one name: .py says the signal, .yaml everything else; or signals in the .yaml"
            yield Problem(f"strategies/{name}{suffix}", None, "", found, expected, alone and f"{alone}{suffix}")


def _is_composed(root: Path, name: str) -> bool:
    """Does a strategy's YAML name signal classes? Asked of the text, as it may have other problems."""
    try:
        file = f"strategies/{name}.yaml"
        return "signals" in compose(_text(root, root / file), file=file).values
    except ConfigurationError:
        return False


def _strategy_refusals(
    configuration: StrategyConfiguration, signal: _Signal | None, known: _Known
) -> Iterator[Refusal]:
    yield from references.of_strategy(
        configuration, datasets=known.datasets, costs=known.costs, risk=known.risk, periods_per_year=known.years
    )
    yield from references.of_regimes(configuration, known.datasets.get(configuration.dataset), known.regimes)
    if signal is not None:
        yield from references.of_signal(configuration, signal.declared)


def _definition(file: _File[StrategyConfiguration], signal: _Signal | None) -> StrategyDefinition:
    if signal is None:
        return composed_definition(file.model)._replace(text=file.text)
    return StrategyDefinition(
        configuration=file.model,
        signal=partial(made, signal.file, signal.source),
        source=signal.source,
        code_hash=code_hash([signal.source]),
        configuration_hash=configuration_hash(file.model),
        text=file.text,
        file=signal.file,
    )


def composed_definition(configuration: StrategyConfiguration) -> StrategyDefinition:
    """A strategy of signal classes, from YAML or from the builder: its code is that of the classes."""
    title = "".join(word.title() for word in configuration.name.split("_"))
    return StrategyDefinition(
        configuration=configuration,
        signal=partial(_composed, title, tuple(configuration.signals)),
        source="",
        code_hash=code_hash(inspect.getsource(SIGNALS[name]) for name in sorted(configuration.signals)),
        configuration_hash=configuration_hash(configuration),
    )


def configuration_hash(configuration: StrategyConfiguration) -> str:
    return document_hash({**configuration.model_dump(mode="json", by_alias=True), "schema": _HASHED_SCHEMA})


@lru_cache(maxsize=256)
def _class_composed(title: str, classes: tuple[str, ...]) -> type[Strategy]:
    return composed(title, classes)


def _composed(title: str, classes: tuple[str, ...], **parameters: Any) -> Strategy:
    return _class_composed(title, classes)(**parameters)
