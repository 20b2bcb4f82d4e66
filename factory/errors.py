"""Errors a user can mend: each names the thing, the value and the remedy, and is shown as one line."""


class SeedmillError(Exception):
    """A user's mistake or a broken environment. The command line prints it without a traceback."""
