"""The measuring program, packed into one piece that any Python runs from its standard input."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

#: Takes the program from standard input into a file that goes with the process, and becomes it.
LOADER = (
    "import runpy,sys,tempfile;"
    "f=tempfile.NamedTemporaryFile(prefix='hotdesk-bench-',suffix='.zip');"
    "f.write(sys.stdin.buffer.read());f.flush();"
    "sys.argv[0]='hotdesk bench';sys.path.insert(0,f.name);"
    "runpy.run_module('bench',run_name='__main__')"
)


def folder() -> Path:
    """Where the program's files lie."""
    found = importlib.util.find_spec("hotdesk.guest")
    places = found.submodule_search_locations if found else None
    return Path(places[0] if places else "") / "bench"


def packed() -> bytes:
    """The program as a zip archive, the same whenever its files are."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder().glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"bench/{file.name}"), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return body.getvalue()
