"""Write docs/licences.md: what an installation holds and under which licence, from its bill of materials.

requirements/sbom bom.json && python -m scripts.licences bom.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "docs" / "licences.md"
HEAD = """\
# Licences

hotdesk is under the MIT licence. This is all that `./setup` installs beside it, as pinned in
`requirements/user.txt`, with the licence that each package declares. `requirements/sbom FILE` writes the
same as a CycloneDX bill of materials, and `python -m scripts.licences FILE` made this table of it. The
libraries inside the page's bundle are named in `src/hotdesk/web/static/LICENCES.txt`.

| package | version | licence |
|---|---|---|
"""


def rows(bom: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, version and licence of each component, by name."""
    for part in sorted(bom["components"], key=lambda part: str(part["name"]).lower()):
        told = {name for row in part.get("licenses", ()) if (name := licence(row))}
        yield part["name"], part["version"], " and ".join(sorted(told)) or "in a file of its own"


def licence(row: dict[str, Any]) -> str:
    """An SPDX expression or name, else the package's own words; "" for a whole text."""
    if "expression" in row:
        return str(row["expression"])
    of = row["license"]
    if "id" in of:
        return str(of["id"])
    if str(of["name"]).startswith("declared license file"):
        return ""
    words = of["text"]["content"] if "text" in of else of["name"]
    return str(words).rpartition("::")[2].strip().splitlines()[0][:60]


if __name__ == "__main__":
    bill = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    DOCUMENT.write_text(HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows(bill)), "utf-8")
