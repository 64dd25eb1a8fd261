"""What `polytrace doctor` says of the sandbox for programs."""

from support.sandbox import SandboxError
from support.sandbox.isolation import find


def isolation_of_programs() -> str:
    """What isolates programs that are graded (`grader.kind=code`)."""
    try:
        return f"{find(allow_weak=False).name}, for grader.kind=code"
    except SandboxError as error:
        return f"none, so that grader.kind=code does not run ({_weak()}): {error}"


def _weak() -> str:
    try:
        lacks = find(allow_weak=True).lacks
    except SandboxError:
        return "allow_weak_sandbox does not help"
    return f"allow_weak_sandbox would not protect {', '.join(lacks)}"
