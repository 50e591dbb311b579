"""The verbs of Gauntlet for a terminal, a file per group of commands."""
