"""From the license names of sources to one license that the Hub accepts in a card's metadata.

Source of the ids: the table of huggingface.co/docs/hub/repositories-licenses.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

UNKNOWN = "unknown"
OTHER = "other"
SEVERAL = "see-the-license-column"
LONGEST = 80  # characters of a name
_IDS = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by
odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
deepfloyd-if-license llama2 gemma unknown other
"""
HUB_IDS = frozenset(_IDS.split())


class License(NamedTuple):
    """The Hub's id, and a name where the id is "other"."""

    id: str
    name: str | None = None


def combine(stated: Iterable[str]) -> License:
    """The license of a dataset: of one, its id; of several, "other"; of none, "unknown"."""
    distinct = sorted({_normal(name) for name in stated})
    if len(distinct) > 1:
        return License(OTHER, SEVERAL)
    if not distinct or distinct[0] in HUB_IDS:
        return License(distinct[0] if distinct else UNKNOWN)
    name = re.sub(r"[^a-z0-9.]+", "-", distinct[0]).strip("-")
    return License(OTHER, name[:LONGEST].rstrip("-") or OTHER)


def _normal(name: str) -> str:
    """In the Hub's spelling: lower case, hyphens, without SPDX's "-only" or "-or-later"."""
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    plain = re.sub(r"-(?:only|or-later)$", "", plain)
    return "odc-by" if plain == "odc-by-1.0" else plain or UNKNOWN
