"""A teacher's server that misbehaves on demand: vLLM's OpenAI interface on 127.0.0.1.

For the tests of faults and for the benchmarks of sampling; no model is behind it. Nothing here
loads aiohttp before the server's own process does.
"""

from tests.servers.loopback.behaviour import Behaviour, Served
from tests.servers.loopback.handle import Loopback

__all__ = ["Behaviour", "Loopback", "Served"]
