"""Homes of Prefect with a database: Prefect needs four seconds of processor time to make one.

A test whose subject is the first start has a home of its own making.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

MIGRATE = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


class Homes:
    """Copies of one home, which the first test that asks makes for all test processes."""

    folder: Path  # set by tests/conftest.py

    def make(self, home: Path) -> Path:
        """A home in the folder `home`, which is left as it is if it is one."""
        if (home / "prefect.db").exists():
            return home
        template = self.folder / "prefect-home"
        with FileLock(self.folder / "prefect-home.lock"):
            if not template.exists():
                part = template.with_suffix(".part")
                environment = {**os.environ, "PREFECT_HOME": str(part)}
                subprocess.run([sys.executable, "-c", MIGRATE], env=environment, check=True)
                part.rename(template)
        return Path(shutil.copytree(template, home, dirs_exist_ok=True))


HOMES = Homes()
