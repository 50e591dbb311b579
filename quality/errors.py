"""The tree of refused contracts. A message says what was seen, what was allowed, and what to do.

QualityError
└── ContractError (a ValueError)   a value that breaks a written contract
"""


class QualityError(Exception):
    """Everything that quality refuses."""


class ContractError(QualityError, ValueError):
    """A value that breaks a written contract."""
