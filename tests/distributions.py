"""Other people's packages: real distributions in a folder, as pip leaves them there."""

from collections.abc import Mapping
from pathlib import Path


def install(
    site: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    parts: Mapping[str, Mapping[str, str]],
) -> None:
    """Write modules, and metadata with entry points: {group: {kind: object}}."""
    site.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (site / file).write_text(text, encoding="utf-8")
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = [
        line
        for group, entries in parts.items()
        for line in (f"[{group}]", *(f"{kind} = {to}" for kind, to in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
