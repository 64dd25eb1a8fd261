"""Which addresses an untrusted recipe may name: those of this machine, and those that are allowed.

An address that is not written in the plainest way is refused, because its readers may disagree
about the server that it means: one with a user, a backslash, a chain of protocols, or a number for
an IP address.
"""

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from support.errors import UserError
from support.redact import public_address

SETTING = "POLYTRACE_ALLOW_ADDRESSES"
HUB = "https://huggingface.co"
_HOST = r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
_PORT = r"(?::([0-9]{1,5}))?"
_ADDRESS = re.compile(
    rf"([a-z][a-z0-9+.-]*)://({_HOST}){_PORT}(?:/[!-~]*)?", re.IGNORECASE | re.ASCII
)
_ALLOWED = re.compile(rf"(?:([a-z][a-z0-9+.-]*)://)?({_HOST}){_PORT}/?", re.IGNORECASE | re.ASCII)
_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A server: no scheme stands for HTTP and HTTPS, no port for every one."""

    scheme: str | None
    host: str
    port: int | None

    @classmethod
    def of(cls, match: re.Match[str]) -> Self:
        """The address in a match; ValueError for a port or an IP address that is none."""
        scheme, host, port = match[1], match[2].lower(), match[3]
        if host.startswith("["):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        if port is not None and not 0 < int(port) < 1 << 16:
            raise ValueError(f"port {port}")
        return cls(scheme and scheme.lower(), host, int(port) if port else None)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine itself, by a name or a number that means nothing else."""
        if self.scheme not in _USUAL_PORTS:
            return False
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def covers(self, other: "Address") -> bool:
        """Whether `other`, which has a scheme, is one of the servers that this one stands for."""
        assert other.scheme is not None
        schemes = (self.scheme,) if self.scheme else tuple(_USUAL_PORTS)
        port = other.port or _USUAL_PORTS.get(other.scheme)
        usual = _USUAL_PORTS.get(self.scheme or "")
        same_port = self.port is None or self.port == port
        if self.scheme and self.port is None and usual is not None:
            same_port = port == usual
        return other.scheme in schemes and self.host == other.host and same_port


class Allowed:
    """The addresses that an untrusted recipe may name besides those of this machine."""

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        """Take addresses as HOST, HOST:PORT or SCHEME://HOST[:PORT]; UserError for another."""
        self._addresses = tuple(map(_allowed, addresses))

    @classmethod
    def with_setting(cls, addresses: Iterable[str] = ()) -> Self:
        """The addresses, and those in the environment, which are separated by spaces or commas."""
        setting = os.environ.get(SETTING, "").replace(",", " ").split()
        return cls((*addresses, *setting))

    def fault(self, url: str) -> str | None:
        """Why a recipe may not name this address; None if it may."""
        address = parsed(url)
        if address is None:
            return f"{public_address(url)!r} is no plain address"
        if address.is_loopback or any(one.covers(address) for one in self._addresses):
            return None
        return f"the address {public_address(url)} is not allowed"

    def hub_fault(self) -> str | None:
        """Why nothing may be fetched from the Hub; None if it may be."""
        fault = self.fault(hub())
        return fault and f"it is fetched from the Hub, and {fault}"


def hub() -> str:
    """The address of the Hub that is asked."""
    return os.environ.get("HF_ENDPOINT") or HUB


def parsed(url: str) -> Address | None:
    """The server of a URL; None where it is not written plainly."""
    match = _ADDRESS.fullmatch(url)
    if match is None or "\\" in url or "@" in url or "#" in url or "::" in _outside(url):
        return None
    try:
        return Address.of(match)
    except ValueError:
        return None


def names_server(text: str) -> bool:
    """Whether a text that may be a path could be taken for a URL."""
    return "://" in text or "::" in text


def _outside(url: str) -> str:
    """A URL without what is in brackets: two colons are usual in IPv6 addresses alone."""
    return re.sub(r"\[[^\]]*\]", "", url)


def _allowed(text: str) -> Address:
    match = _ALLOWED.fullmatch(text)
    try:
        if match is not None:
            return Address.of(match)
    except ValueError:
        pass
    raise UserError(
        f"--allow-address {public_address(text)!r}: is no address; write HOST, HOST:PORT or "
        "SCHEME://HOST:PORT, such as gpu1:8000, https://api.openai.com or s3://bucket"
    )
