"""Make a job's Python programs write whole lines, so that several processes can share one log.

Python imports this at its start through PYTHONPATH (documentation of `site`). With PYTHONUNBUFFERED, a
`print` of several words takes several writes, which interleave with those of other ranks; line buffering
takes one. The standard library only, for any Python.
"""

import contextlib
import importlib
import os
import sys

for _stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):  # whatever these streams are, the program must start
        _stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]

# Import the sitecustomize that this one shadows, if there is one: the system's or the user's.
_ours = sys.modules.pop(__name__, None)
sys.path[:] = [p for p in sys.path if p != os.path.dirname(__file__)]
with contextlib.suppress(ImportError):
    importlib.import_module(__name__)
if _ours is not None:
    sys.modules.setdefault(__name__, _ours)
