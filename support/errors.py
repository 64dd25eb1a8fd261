"""The errors that a user meets; each is also a standard-library error with an exit code."""


class PolytraceError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class UserError(PolytraceError, ValueError):
    """The user's mistake: the message names file, row and field, and says what to do."""

    exit_code = 2


class NewerError(UserError):
    """A newer version of Polytrace made this file, and holds more in it than this one knows."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path}: was made by a newer version of Polytrace; update this one, or build into "
            "another directory (--out)"
        )


class ShortError(PolytraceError, RuntimeError):
    """A teacher could not deliver every sample; what came is kept, the same command resumes."""

    exit_code = 3


class StoppedError(PolytraceError, RuntimeError):
    """A command ended before its end, by a disk that failed for one; the same command goes on."""

    exit_code = 3


class NothingReleasedError(PolytraceError, RuntimeError):
    """Every prompt was rejected; the message lists the top reasons."""


class DamagedError(PolytraceError, RuntimeError):
    """A file of a run does not hold what its manifest says."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
