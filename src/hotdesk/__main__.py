"""`hotdesk` and `python -m hotdesk`."""

import contextlib
import gc
import os
import sys

INTERRUPTED = 130  # Ctrl-C


def main() -> None:
    if sys.argv[1:] == ["--version"]:  # the one answer that needs nothing loaded
        from hotdesk import __version__

        with contextlib.suppress(OSError):  # below it is tried again, and explained
            print(f"hotdesk {__version__}", flush=True)
            return
    gc.set_threshold(50_000, 20, 50)  # what is imported is not garbage: looking for some took a tenth of `ls`
    try:
        from hotdesk.cli.main import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything was begun, or after all was done
        status = INTERRUPTED
    if status == INTERRUPTED:  # questions that nobody answers any more are not waited for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
