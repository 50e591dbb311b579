"""The project: what people wrote in datasets/, strategies/ and policies/, held together.

1. Every file is read by itself: YAML into its model, a strategy's Python into its class, once it is
   found to say nothing that `quality.vocabulary` does not allow.
2. What could be read is held against the rest: names that must exist, values that must fit.
3. Any problem at all, and one ConfigurationError says every one of them, by file and line; so
   whoever has a Project has one that is whole.

A strategy is two files of one name, or one YAML file that names signal classes. Its Python runs here
once, straight from the text that is hashed: compiled files are neither read nor written, as they could
be of another text.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from types import MappingProxyType, ModuleType
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from engine.signals.composed import composed
from engine.signals.registry import SIGNALS
from engine.strategy import Strategy
from quality import references, universe, vocabulary
from quality.configuration import read
from quality.datasets import Dataset
from quality.documents import Document, compose, nearest
from quality.errors import ConfigurationError, Problem, Refusal
from quality.hashes import code_hash, document_hash
from quality.policies import CalendarsPolicy, Correction, Costs, CostsPolicy, ServiceLevel, SlaPolicy
from quality.promotion import PromotionPolicy
from quality.regimes import RegimesPolicy, RegimeTerms
from quality.risk import Risk, RiskPolicy
from quality.strategies import StrategyConfiguration
from quality.universe import Universe, UniversePolicy
from resources.bar_files.layouts import load_formats
from resources.sources import registry

Model = TypeVar("Model", bound=BaseModel)

_SUFFIXES = {"datasets": (".yaml",), "strategies": (".yaml", ".py"), "policies": (".yaml",)}


class StrategyDefinition(NamedTuple):
    """One strategy version: what its two files say, and the identity of each."""

    configuration: StrategyConfiguration
    signal: type[Strategy]
    source: str  # the text of the signal; none of one that is made of signal classes
    code_hash: str
    configuration_hash: str


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


class _File(NamedTuple, Generic[Model]):
    document: Document
    model: Model


_NO_RISK = _File(compose("schema: 1", file="policies/risk.yaml"), RiskPolicy(schema=1))
_NO_REGIMES = _File(compose("schema: 1", file="policies/regimes.yaml"), RegimesPolicy(schema=1))


class _Signal(NamedTuple):
    strategy: type[Strategy]
    source: str


def load(root: Path) -> Project:
    """Read the project under `root`.

    Raises:
        ConfigurationError: with every problem of every file, by file and line.
    """
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
    configurations = {
        path.stem: _yaml(root, path, StrategyConfiguration, problems) for path in _files(root, "strategies", ".yaml")
    }
    signals = {path.stem: _python(root, path, problems) for path in _files(root, "strategies", ".py")}

    years = promotion.model.periods_per_year if promotion else None
    if calendars and years is not None:
        problems += calendars.document.problems(references.of_calendars(calendars.model, calendars=years))
    for name, dataset in datasets.items():
        problems += _dataset_problems(name, dataset, root=root, sla=sla, years=years, costs=costs, universes=universes)
    known = {name: dataset.model if dataset else None for name, dataset in datasets.items()}
    for name in sorted(configurations.keys() | signals.keys()):
        problems += _twin_problems(root, name, configurations, signals)
        problems += _strategy_problems(
            name, configurations.get(name), signals.get(name), datasets=known, costs=costs, risk=risk, years=years
        )
        problems += _regime_problems(configurations.get(name), datasets=known, regimes=regimes)

    if problems or not (sla and costs and calendars and promotion and universes and risk and regimes):
        raise ConfigurationError(sorted(problems, key=lambda problem: (problem.file, problem.line or 0)))
    definitions = [
        _definition(configuration.model, signals.get(name))
        for name, configuration in configurations.items()
        if configuration
    ]
    return Project(
        datasets={name: dataset for name, dataset in known.items() if dataset},
        strategies={definition.configuration.key: definition for definition in definitions},
        sla=sla.model.sections,
        costs=costs.model.sections,
        corrections=calendars.model.corrections,
        risk=risk.model.sections,
        universes=universes.model.sections,
        promotion=promotion.model,
        regimes=regimes.model.sections,
    )


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
        document = compose(_text(root, path), file=_name(root, path))
        return _File(document, read(document, model))
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


def _python(root: Path, path: Path, problems: list[Problem]) -> _Signal | None:
    try:
        source = _text(root, path)
        return _Signal(_strategy(_name(root, path), path, source), source)
    except ConfigurationError as error:
        problems += error.problems
        return None


def _strategy(file: str, path: Path, source: str) -> type[Strategy]:
    """The one Strategy that the Python `source` of `path` defines."""
    module = ModuleType(f"strategies.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their annotations up there
    try:
        compiled = compile(source, str(path), "exec", dont_inherit=True)
        refused = vocabulary.refused(source, file=file)
        if not refused:
            exec(compiled, module.__dict__)  # noqa: S102 - a user's own code, and read before
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises is reported with its place
        found = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
        raise ConfigurationError([Problem(file, _raised_at(error, path), "", found, "Python that runs")]) from None
    if refused:
        raise ConfigurationError(refused)
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
    ]
    if len(defined) != 1:
        names = ", ".join(strategy.__name__ for strategy in defined) or "no Strategy"
        expected = "one class that extends engine.strategy.Strategy"
        raise ConfigurationError([Problem(file, None, "", f"the file defines {names}", expected)])
    return defined[0]


def _raised_at(error: BaseException, path: Path) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    return lines[-1] if lines else None


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


def _regime_problems(
    configuration: _File[StrategyConfiguration] | None,
    *,
    datasets: Mapping[str, Dataset | None],
    regimes: _File[RegimesPolicy] | None,
) -> list[Problem]:
    if configuration is None:
        return []
    terms = regimes.model.sections if regimes else None
    dataset = datasets.get(configuration.model.dataset)
    return configuration.document.problems(references.of_regimes(configuration.model, dataset, terms))


def _strategy_problems(
    name: str,
    configuration: _File[StrategyConfiguration] | None,
    signal: _Signal | None,
    *,
    datasets: Mapping[str, Dataset | None],
    costs: _File[CostsPolicy] | None,
    risk: _File[RiskPolicy] | None,
    years: Mapping[str, int] | None,
) -> list[Problem]:
    if configuration is None:
        return []
    sections = costs.model.sections if costs else None
    guards = risk.model.sections if risk else None
    refusals = [
        *_misnamed(name, configuration.model.name),
        *references.of_strategy(
            configuration.model, datasets=datasets, costs=sections, risk=guards, periods_per_year=years
        ),
        *(references.of_signal(configuration.model, signal.strategy) if signal else ()),
    ]
    return configuration.document.problems(refusals)


def _definition(configuration: StrategyConfiguration, signal: _Signal | None) -> StrategyDefinition:
    if signal is None:
        return composed_definition(configuration)
    return StrategyDefinition(
        configuration=configuration,
        signal=signal.strategy,
        source=signal.source,
        code_hash=code_hash([signal.source]),
        configuration_hash=configuration_hash(configuration),
    )


def composed_definition(configuration: StrategyConfiguration) -> StrategyDefinition:
    """A strategy of signal classes, from YAML or from the builder: its code is that of the classes."""
    title = "".join(word.title() for word in configuration.name.split("_"))
    return StrategyDefinition(
        configuration=configuration,
        signal=composed(title, configuration.signals),
        source="",
        code_hash=code_hash(inspect.getsource(SIGNALS[name]) for name in sorted(configuration.signals)),
        configuration_hash=configuration_hash(configuration),
    )


def configuration_hash(configuration: StrategyConfiguration) -> str:
    return document_hash(configuration.model_dump(mode="json", by_alias=True))
