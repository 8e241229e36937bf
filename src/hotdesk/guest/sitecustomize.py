"""Lines that a job's Python programs print arrive whole, also where several processes share one log.

Python imports this at its start, by way of PYTHONPATH (documentation of `site`). With PYTHONUNBUFFERED a
`print` of several words is several writes, between which another rank's come; a line at a time is one. The
standard library only, for any Python.
"""

import contextlib
import importlib
import os
import sys

for _stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):  # whatever these are here, the program begins
        _stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]

# The sitecustomize that this one stands before, if there is one: a system's or a person's own.
_ours = sys.modules.pop(__name__, None)
sys.path[:] = [p for p in sys.path if p != os.path.dirname(__file__)]
with contextlib.suppress(ImportError):
    importlib.import_module(__name__)
if _ours is not None:
    sys.modules.setdefault(__name__, _ours)
