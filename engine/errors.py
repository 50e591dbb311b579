"""The tree of the engine's refusals. A message says what was seen, what was allowed, and what to do.

EngineError
└── InvalidInputError (a ValueError)   data or arguments that cannot mean anything
    ├── UnalignedError                 arrays that must share a shape and do not
    └── UnknownTimeframeError          a timeframe that is not a number and a unit
"""


class EngineError(Exception):
    """Everything the engine refuses."""


class InvalidInputError(EngineError, ValueError):
    """Data or arguments that cannot mean anything."""


class UnalignedError(InvalidInputError):
    def __init__(self, **shapes: tuple[int, ...]) -> None:
        seen = ", ".join(f"{name}{list(shape)}" for name, shape in shapes.items())
        super().__init__(f"arrays must share one shape, got {seen}: align them before the call")


class UnknownTimeframeError(InvalidInputError):
    def __init__(self, timeframe: str) -> None:
        super().__init__(f"timeframe {timeframe!r} is not a number and a unit: write 30s, 5m, 1h, 1d or 1w")
