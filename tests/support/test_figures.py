"""Whoever draws leaves the caller's matplotlib as it is; pictures are whole and alike."""

import os
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

DRAW = """
import sys
from pathlib import Path
import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["font.size"] = 13
before = dict(matplotlib.rcParams)
from curation.seqdep_report import plot
from diffusion.paper import figures
from tests.curation import samples
folder = Path(sys.argv[1])
samples.write_run(folder / "run", samples.corpus(3))
series = plot.Series(label="a", points=((1, 0.1, 0.1), (2, 0.2, 0.1)), nats=(), nats_per_token=())
plot.draw([plot.SeqDepPanel(title="b", series=(series,))], folder / "seqdep", title="c", note="d")
figures._save([figures.Panel("e", 2, lambda axis: axis.plot([0, 1], [1, 2]))], folder / "one", "f")
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules, "its state is the process's"
"""


def test_drawing_leaves_backend_and_settings_of_the_caller_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run", "seqdep.png", "seqdep.svg", "one.png", "one.svg"}
    assert len(list((tmp_path / "run" / "release" / "figures").iterdir())) == 2
