"""The one code location: what Dagster loads."""

from pipelines.code_location import build
from pipelines.workplace import open_unattended

defs = build(open_unattended())
