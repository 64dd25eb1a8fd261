"""What is tried again, how often, and how long a server may ask to wait."""

import time
from email.utils import formatdate

import pytest

from support.errors import PolytraceError, StoppedError, UserError
from support.retry import GOES_ON, retry, retry_after


class Flaky:
    """Fails with `errors`, one a call, then answers with the number of calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def as_our_error(error: Exception) -> PolytraceError:
    said = f"there: {error}"
    return StoppedError(said + GOES_ON) if isinstance(error, OSError) else UserError(said)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def test_what_passes_is_tried_again_and_told(waited: list[float]) -> None:
    said: list[str] = []
    assert retry(Flaky(OSError("cut"), OSError("cut")), as_our_error, say=said.append) == 3
    assert waited == [1, 2]
    assert said == ["there: cut; trying again in 1 s", "there: cut; trying again in 2 s"]


def test_what_stays_ends_after_five_calls(waited: list[float]) -> None:
    attempt = Flaky(*[OSError("cut")] * 9)
    with pytest.raises(StoppedError, match=r"^there: cut; the same command goes on$"):
        retry(attempt, as_our_error)
    assert attempt.calls == 5
    assert waited == [1, 2, 4, 8]


@pytest.mark.parametrize("error", [KeyError("wrong"), StoppedError("ours already")])
def test_nothing_else_is_tried_again(error: Exception, waited: list[float]) -> None:
    attempt = Flaky(error)
    with pytest.raises(PolytraceError):
        retry(attempt, as_our_error)
    assert (attempt.calls, waited) == (1, [])


def test_a_server_may_ask_for_more(waited: list[float]) -> None:
    asked = iter([30, None, 0.5])
    retry(
        Flaky(OSError(), OSError(), OSError()), as_our_error, requested_wait=lambda _: next(asked)
    )
    assert waited == [30, 2, 4]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_a_header_is_a_number_or_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_a_header_may_be_a_date() -> None:
    found = retry_after(formatdate(time.time() + 60, usegmt=True))
    assert found is not None and 57 < found <= 60
