"""`hotdesk` and `python -m hotdesk`."""

import sys


def main() -> None:
    if sys.argv[1:] == ["--version"]:  # the one answer that needs nothing loaded
        from hotdesk import __version__

        print(f"hotdesk {__version__}")
        return
    from hotdesk.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
