"""S3 on loopback: a moto server, behind a proxy that can cut, hold and count.

The real client, s3fs, talks to it. There is one bucket, `bucket`.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import pytest

KEY = "AKIDEXAMPLEPOLYTRACE"
SECRET = "wJalrXUtnFEMIsecretK7MDENGbPxRfiCYEXAMPLE"
_REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP", re.MULTILINE)


class S3Server:
    """`requests` are (verb, path) of all; `sent` and `received` count bytes to and from the server.

    While `cuts` is above 0, a connection is cut after `after` bytes in `direction`, and `cuts`
    falls by one. After `put_limit` files were sent, every connection is cut. The request for
    `held_path` waits for `hold`.
    """

    def __init__(self) -> None:
        server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
        self._moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.requests: list[tuple[str, str]] = []
        self.sent = self.received = 0
        self.cuts, self.after, self.direction = 0, 0, "down"
        self.put_limit: int | None = None
        self.hold: threading.Event | None = None
        self.held_path = ""
        self.is_held = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> "S3Server":
        self._moto.start()
        self._upstream = self._moto.get_host_and_port()
        threading.Thread(target=self._accept, daemon=True).start()
        self.files.mkdir("bucket")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.clear()
        self.files.rmdir("bucket")  # servers of one process share what they hold
        self._listener.close()
        self._moto.stop()

    @property
    def env(self) -> dict[str, str]:
        """What a user sets."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._listener.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def files(self) -> Any:
        """A client of its own, past the proxy."""
        import s3fs

        host, port = self._upstream
        return s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=f"http://{host}:{port}",
            use_listings_cache=False,
        )

    def tree(self, root: str) -> dict[str, bytes]:
        """Every object below `root` by its path there."""
        files = self.files
        return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}

    def changes(self) -> list[tuple[str, str]]:
        """The requests that changed something."""
        return [one for one in self.requests if one[0] not in ("GET", "HEAD")]

    def clear(self) -> None:
        """Make the bucket empty, and the proxy let everything through."""
        self.cuts, self.hold, self.put_limit = 0, None, None
        self.requests.clear()
        for path in self.files.find("bucket"):
            self.files.rm_file(path)

    @contextmanager
    def cutting(self, cuts: int, after: int, direction: str) -> Iterator[None]:
        """Cut connections for a while."""
        self.cuts, self.after, self.direction = cuts, after, direction
        yield
        self.cuts = 0

    def _is_full(self) -> bool:
        puts = [path for verb, path in self.requests if verb == "PUT" and ".json" not in path]
        assert self.put_limit is not None
        return len(puts) > self.put_limit

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for ends in ((client, server, "up"), (server, client, "down")):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(1 << 14):
                passed += len(data)
                if direction == "up":
                    self.sent += len(data)
                    for verb, path in _REQUEST.findall(data):
                        self.requests.append((verb.decode(), path.decode()))
                        if self.hold is not None and self.held_path.encode() in path:
                            self.is_held.set()
                            self.hold.wait()
                    if self.put_limit is not None and self._is_full():
                        break
                else:
                    self.received += len(data)
                if direction == self.direction and self.cuts > 0 and passed > self.after:
                    self.cuts -= 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
