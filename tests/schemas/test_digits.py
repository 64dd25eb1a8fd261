"""Numbers for people: sensible digits, whatever the size."""

import pytest

from support.display.digits import distinguishable, rounded, rounded_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.04392016040227436, "0.04392"),
        (136.28341, "136.3"),
        (-12.5, "-12.5"),
        (9.99996, "10"),
        (999.96, "1,000"),
        (12345.6, "12,346"),
        (12345678, "12,345,678"),
        (0.0, "0"),
        (1.0, "1"),
        (-0.00001234567, "-1.235e-05"),
        (1e308, "1e+308"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_a_number_has_four_digits_and_its_whole_part(value: float, shown: str) -> None:
    assert rounded(value) == shown


def test_signs_stand_before_gains() -> None:
    assert [rounded(value, "+") for value in (0.1234567, -1.5, 2000.0)] == [
        *("+0.1235", "-1.5", "+2,000"),
    ]


def test_what_is_no_number_stays() -> None:
    assert rounded_text("0.04392016040227436") == "0.04392"
    assert rounded_text("cut=00ff") == "cut=00ff"


def test_rounding_makes_no_two_numbers_alike() -> None:
    assert distinguishable(0.2000004, 0.1) == ("0.2", "0.1")
    assert distinguishable(0.30000000000000004, 0.3) == ("0.30000000000000004", "0.3")
    assert distinguishable(0.3, 0.3) == ("0.3", "0.3")
