"""Run one task of a sweep over a Python function, in the task's folder: python FOLDER/sweep_function.py

Beside this file are `function.json` (python, paths), `function.pickle` (the function and the values of its
arguments that JSON cannot hold, by label) and the `cloudpickle` that wrote it. What the function returns is
left in RETURNED, pickled; its numbers are printed as a line of JSON, and so become metrics.

The standard library and what is beside it only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from typing import Any

RETURNED = "hotdesk-returned.pickle"  # in the task's folder
OTHER_PYTHON = 78  # EX_CONFIG (sysexits.h)


def main() -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "function.json"), encoding="utf-8") as file:
        told = json.load(file)
    with contextlib.suppress(FileNotFoundError):
        os.remove(RETURNED)  # of an earlier attempt
    if list(sys.version_info[:2]) != told["python"]:
        theirs, ours = (".".join(map(str, v[:2])) for v in (told["python"], sys.version_info))
        print(f"hotdesk: the function is of Python {theirs}, and this machine's python is {ours}.")
        return OTHER_PYTHON
    sys.path[0] = here
    import cloudpickle

    sys.path[:1] = [os.path.normpath(os.path.join(os.getcwd(), name)) for name in told["paths"]]
    try:
        with open(os.path.join(here, "function.pickle"), "rb") as file:
            function, values = pickle.load(file)
        params = json.loads(os.environ["HOTDESK_PARAMS"])
        given = {k: values.get(k, {}).get(v, v) if isinstance(v, str) else v for k, v in params.items()}
        returned = function(**given)
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            returned = None
        else:
            _complain(error)
            return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    try:
        with open(RETURNED + ".new", "wb") as file:
            cloudpickle.dump(returned, file)
        os.rename(RETURNED + ".new", RETURNED)
    except Exception as error:
        _complain(error)
        kind = type(returned).__name__
        print(f"hotdesk: what the function returned, a {kind}, cannot be pickled.", file=sys.stderr)
        return 1
    if numbers := dict(_numbers(returned)):
        print(json.dumps(numbers))
    return 0


def _complain(error: BaseException) -> None:
    """The traceback from the function on: what is above it is of no interest to its author."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    traceback.print_exception(type(error), error, own)


def _numbers(returned: Any) -> Iterator[tuple[str, Any]]:
    """The metrics in what a function returned: the numbers and texts of a dict, or a number alone."""
    items = returned.items() if isinstance(returned, dict) else [("value", returned)]
    for name, found in items:
        single = getattr(found, "shape", None) == () and hasattr(found, "item")
        value = found.item() if single else found  # numpy's, torch's
        if isinstance(value, (bool, int, float)) or (isinstance(returned, dict) and isinstance(value, str)):
            yield str(name), value if not isinstance(value, float) or math.isfinite(value) else str(value)


if __name__ == "__main__":
    sys.exit(main())
