"""Signal classes from practice, a registry of them by name, and the strategy that a list of names makes."""
