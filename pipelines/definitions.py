"""The one code location: what Dagster loads."""

from pipelines.code_location import build
from pipelines.workplace import open_workplace

defs = build(open_workplace())
