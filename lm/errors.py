"""The one error that people are meant to read."""


class OrdinalError(Exception):
    """Something that the user can mend: what was given, what was expected, what to type instead.

    The command line prints its message on one line, without a traceback, and exits with
    `exit_code`: 2 for a mistake in what was typed, 1 for everything else.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


class UsageError(OrdinalError):
    """A mistake in what was typed: a name, an option, a line of a config."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=2)
