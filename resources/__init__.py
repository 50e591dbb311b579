"""Everything with a handle: lake, ledger store, calendars, sources, clock, environment."""
