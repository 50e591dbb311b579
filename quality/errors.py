"""The tree of refused contracts. A message says what was seen, what was allowed, and what to do.

QualityError
└── ContractError (a ValueError)   a value that breaks a written contract
    ├── ConfigurationError         files that cannot be used; carries every Problem, with file and line
    ├── RefusedValuesError         what a model says of a combination of keys; carries places, knows no file
    ├── UnknownMetricError         a metric that has no definition
    └── MalformedEntryError        bytes that are no entry of the ledger
        └── NotCanonicalError      an entry whose bytes are not those its hash is taken over
"""

from collections.abc import Iterable
from typing import NamedTuple

Location = tuple[str | int, ...]
"""The keys and indices that lead from the top of a document to a value."""


class Problem(NamedTuple):
    """One thing that is wrong with a file; its string is the line a person reads."""

    file: str
    line: int | None  # None: of the file as a whole
    key: str
    found: str
    expected: str = ""
    nearest: str | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        if self.nearest is not None:
            return f"{where}: {self.found}: did you mean {self.nearest!r}? Expected {self.expected}"
        return f"{where}: {self.found}, expected {self.expected}" if self.expected else f"{where}: {self.found}"


class Refusal(NamedTuple):
    """A place in a document and what was expected there."""

    at: Location
    expected: str = ""
    found: str = "{key} is {value}"  # the two names stand for the dotted place and what is there
    nearest: str | None = None


class QualityError(Exception):
    """Everything that quality refuses."""


class ContractError(QualityError, ValueError):
    """A value that breaks a written contract."""


class ConfigurationError(ContractError):
    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RefusedValuesError(ContractError):
    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("; ".join(f"{refusal.at}: expected {refusal.expected}" for refusal in self.refusals))


class UnknownMetricError(ContractError):
    def __init__(self, metric: str, *, nearest: str | None, expected: str) -> None:
        super().__init__(
            f"unknown metric {metric!r}: " + (f"did you mean {nearest!r}?" if nearest else f"write {expected}")
        )


class MalformedEntryError(ContractError):
    def __init__(self, problem: str) -> None:
        super().__init__(f"is no entry as the ledger writes it: {problem}")


class NotCanonicalError(MalformedEntryError):
    def __init__(self) -> None:
        super().__init__("its bytes are not canonical (RFC 8785), so somebody else wrote it")
