"""Market data in groups of instruments: many enough for few transactions, few enough for memory."""

from collections.abc import Iterator

from quality.datasets import Dataset, Instrument

BATCH_BARS = 1_000_000
BATCH_INSTRUMENTS = 25  # at most, so that the first of a hundred are written while the others are judged


def batches(dataset: Dataset, bars_each: int) -> Iterator[list[Instrument]]:
    """The instruments in groups whose bars fit into memory together; one transaction of a table each."""
    size = max(1, min(BATCH_INSTRUMENTS, BATCH_BARS // max(1, bars_each)))
    for start in range(0, len(dataset.instruments), size):
        yield list(dataset.instruments[start : start + size])
