"""What is shown of an address."""

import pytest

from support.redact import UNCLEAR, public_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://prefect:4200/api", "http://prefect:4200/api"),
        ("http://me:hunter2@[::1]:4200/api?token=hunter2#x", "http://[::1]:4200/api"),
        ("tcp://me:hunter@2@127.0.0.1:9", "tcp://127.0.0.1:9"),
        ("me:hunter2@head:6379", "head:6379"),
        ("head:6379", "head:6379"),
        ("http://me:12/hunter2@head", UNCLEAR),
        ("http://me:12?hunter2@head", UNCLEAR),
        ("http://head/\x1b[2J", UNCLEAR),
        ("", UNCLEAR),
    ],
)
def test_an_address_is_bare_or_not_shown(address: str, shown: str) -> None:
    assert public_address(address) == shown
