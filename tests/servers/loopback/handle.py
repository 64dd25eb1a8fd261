"""The handle on a loopback server: it starts the process, kills, freezes and questions it.

    with Loopback() as server:
        server.set(Behaviour(latency_s=0.05, fail_next=3))
        ...                       # talk to server.url
        server.served()           # what it was asked

In: behaviours. Out: a URL, and what the server was asked. The server ends with the handle's
process, also with one that is killed.
"""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.loopback.behaviour import Behaviour, Served, served_of

_ROOT = Path(__file__).resolve().parents[3]
_CONTROL_SECONDS = 30.0


class Loopback:
    """A server process, from `with` to the end of the block."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        port: int = 0,
        require_key: str | None = None,
        keep_alive_s: float = 60.0,
    ) -> None:
        """`require_key` is asked of whoever calls /v1; idle connections last `keep_alive_s`."""
        self.port = port
        self._behaviour = behaviour or Behaviour()
        self._key = require_key
        self._keep_alive = keep_alive_s
        self._folder = tempfile.TemporaryDirectory(prefix="loopback-")
        self._log = Path(self._folder.name) / "requests.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Loopback":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """The base URL of the OpenAI interface; it stays the same over restarts."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def set(self, behaviour: Behaviour) -> None:
        """Behave so from now on; the counters and the outage begin now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CONTROL_SECONDS)
        try:
            connection.request("POST", "/control", behaviour.json())
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"the loopback server refuses the behaviour: {text}")
        self._behaviour = behaviour

    def served(self) -> list[Served]:
        """All completion requests in order of arrival, over restarts, also of a dead server."""
        return served_of(self._log.read_bytes()) if self._log.exists() else []

    def forget(self) -> None:
        """Begin the list of requests anew."""
        os.truncate(self._log, 0)

    def kill(self) -> None:
        """SIGKILL, as an engine dies; nothing to do where it is dead."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    def restart(self, behaviour: Behaviour | None = None) -> None:
        """On the same port; without `behaviour` as before, less its counters and its outage."""
        self.kill()
        self._behaviour = behaviour or self._behaviour.spent()
        self._start()

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.servers.loopback", "--port", str(self.port)]
        command += ["--log", str(self._log), "--keep-alive", str(self._keep_alive)]
        command += ["--behaviour", self._behaviour.json().decode(), "--until-eof"]
        if self._key is not None:
            command += ["--require-key", self._key]
        # A group of its own, so that Ctrl-C at the client under test leaves the server alone.
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # written when the port listens
        if not line:
            self.kill()
            raise RuntimeError("the loopback server did not start; its error stands above")
        self.port = int(line)
