"""The command line: a table of commands, each in a file of its own that is loaded when it is used."""

from __future__ import annotations

import contextlib
import itertools
import time
from importlib import import_module
from typing import Any

import click

from hotdesk.cli.ui import render, terminal
from hotdesk.cli.ui.renamed import current
from hotdesk.core.errors import HotdeskError, Usage

#: section -> name -> what it does. The command is `command` in hotdesk/cli/NAME.py (hyphens: underscores).
COMMANDS = {
    "The desk": {
        "up": "Open a desk: launch its instance, log in, start Jupyter.",
        "ls": "List your desks: state, price and cost so far.",
        "show": "Show one desk and its recent journal.",
        "top": "Show what desks are doing, live: load, GPUs, jobs and cost.",
        "log": "Show the journal: every step and its reason; -f follows it.",
        "park": "Save everything in a verified image, then stop paying.",
        "resume": "Bring a parked desk back, on the best offer now.",
        "stop": "Stop the instance; keep its disk.",
        "start": "Start a stopped instance.",
        "move": "Move a desk to other hardware.",
        "disk": "Make a desk's disk bigger.",
        "down": "Delete a desk and its images. Asks first.",
        "watch": "Finish pending steps, recover interruptions, run queued jobs.",
        "web": "Open the page: everything here, in your browser.",
    },
    "On the desk": {
        "ssh": "Open a terminal on the desk (in tmux), or run one command.",
        "notebook": "Open Jupyter in your browser; --url prints the URL.",
        "forward": "Reach a port of the desk here: TensorBoard, MLflow, a web app.",
        "code": "Open the desk in VS Code, or any editor that works over ssh.",
        "push": "Copy files to the desk.",
        "pull": "Copy files from the desk.",
    },
    "Leaving": {
        "stay": "Keep a desk running for a while: `hotdesk stay 2h`.",
        "notify": "Send a test notification, as [notify] in hotdesk.toml says.",
        "costs": "Show the bill by desk and month, and what parking saved.",
        "images": "List the images of desks: where, how big, for how much, until when.",
        "gc": "List or delete orphaned resources in every region.",
    },
    "Speed and cost": {
        "bench": "Measure a machine's training speed; list and compare results.",
        "plan": "Plan a job's total cost and time, on 1 machine or on 1000.",
        "predict": "Predict a job's speed on a GPU from measurements on others.",
    },
    "Choosing": {
        "offers": "List matching offers: price, location and latency.",
        "regions": "Measure the latency of each region; show a GPU's price there.",
        "spot": "Show what spot has cost in each zone, with advice and a plot.",
    },
    "Long runs": {
        "run": "Run a long job that survives dropped ssh and interruptions.",
        "jobs": "List jobs: state, result, time and cost.",
        "logs": "Print a job's output; -f follows it.",
        "attach": "Attach to the job's terminal.",
        "cancel": "Cancel a job: SIGTERM, then SIGKILL.",
        "sweep": "Run a command with many parameters, on many machines (Ray).",
        "cluster": "Several machines at once for your own Ray or torchrun program.",
        "simulate": "Simulate a spot policy under a deadline, over recorded traces.",
    },
    "Settings": {
        "init": "Write a commented hotdesk.toml for this folder.",
        "export": "Print a desk as a file to share: hardware, limits, packages, jobs.",
        "config": "Show which value of each setting counts, and where it comes from.",
    },
    "Help": {
        "doctor": "Diagnose problems: what is wrong, why, and how to fix it.",
        "self-check": "Prove this installation: its files, and a desk's whole day.",
        "iam": "Print the minimal access policy for a cloud account.",
        "uninstall": "Remove what hotdesk made on this computer. Asks first.",
        "completion": "Print shell completion for bash, zsh or fish.",
        "schema": "Print the JSON Schema of what a command prints with --json.",
        "guide": "Print a short guide; --agent: one for a coding agent.",
    },
}


COMMAND_NAMES = frozenset(name for section in COMMANDS.values() for name in section)
#: Commands that write down a goal, which any later command can pursue.
_PURSUED = frozenset({"up", "park", "resume", "stop", "start", "move", "down"})


class Table(click.Group):
    """A group that knows its commands' names without loading them."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with terminal.readers():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with terminal.readers():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"hotdesk.cli.commands.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            raise Usage(
                f"There is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
                "",
                f"hotdesk {near[0]} --help" if near else "hotdesk --help",
            )
        name, command, words = super().resolve_command(ctx, args)
        return name, command, current(name or "", words)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))


@click.group(
    cls=Table,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Ctrl-C is always safe: your request is saved, and the next command continues it.",
)
@click.version_option(package_name="hotdesk", prog_name="hotdesk", message="%(prog)s %(version)s")
def hotdesk() -> None:
    """A deep-learning desk: open it when you need it, leave when you are done, lose nothing.

    Start with `hotdesk up`. Without a cloud account, the desk runs on this computer.
    """


def run(argv: list[str]) -> int:
    """Run a command line; its exit code (see hotdesk.core.errors). Nothing escapes as a traceback."""
    terminal.prepare()
    terminal.speak_json(False)
    try:
        return _run(argv)
    except (BrokenPipeError, terminal.ReaderLeft):
        terminal.silence()
        return 141
    finally:
        terminal.speak_json(False)  # who called may go on to print for a person


def _run(argv: list[str]) -> int:
    name, began = argv[0] if argv else "", time.time()
    try:
        status = hotdesk.main(argv or ["--help"], prog_name="hotdesk", standalone_mode=False)
    except HotdeskError as error:
        _before_options(argv)
        return render.failure(type(error).__name__, error.exit_code, error.what, error.why, error.fix)
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except click.ClickException as error:
        _before_options(argv)
        context = getattr(error, "ctx", None)  # of the command that was typed, also within a group
        command = (
            context.command_path if context else f"hotdesk {name}" if name in COMMAND_NAMES else "hotdesk"
        )
        return render.failure("Usage", 2, " ".join(error.format_message().split()), "", f"{command} --help")
    except (KeyboardInterrupt, click.Abort) as error:
        answered = isinstance(error, click.Abort) and not isinstance(error.__cause__, KeyboardInterrupt)
        said = "Nothing was done." if answered else f"Stopped.{_goes_on(name, began)}"
        if terminal.speaks_json():
            return render.failure("Stopped", 130, said)
        render.note(said if answered else f"\n{said}")
        return 130
    except (BrokenPipeError, terminal.ReaderLeft):
        raise
    except Exception as error:
        if lack := terminal.lack(error):
            if isinstance(error, OSError) and error.filename is None:  # standard output itself: say it beside
                terminal.silence()
                terminal.speak_json(False)
            return render.failure("Missing", lack.exit_code, lack.what, lack.why, lack.fix)
        from hotdesk.services.defects import written_down

        return render.failure("Defect", 1, *written_down(error))
    finally:
        if name in COMMAND_NAMES - {"watch", "completion"}:
            _go_on()
    return status if isinstance(status, int) else 0  # what a command gave to `ctx.exit`


def _before_options(argv: list[str]) -> None:
    """What is wrong with the words ends the reading of options, maybe before --json is met."""
    if "--json" in itertools.takewhile("--".__ne__, argv):
        terminal.speak_json(True)


def _goes_on(name: str, began: float) -> str:
    """How to continue a command that Ctrl-C has ended."""
    from hotdesk.state.store import Store
    from hotdesk.system import state_folder

    if name in _PURSUED:
        with contextlib.suppress(OSError, HotdeskError), Store(state_folder()) as store:
            if all(desk.since < began for desk in store.desks()):
                return " Nothing was done."
        return " Your request is saved: the same command, or `hotdesk watch`, continues it."
    if name == "cluster":
        return " A cluster that was begun goes on, and may cost money: `hotdesk cluster ls`."
    return " The same command copies only what is missing." if name in {"push", "pull"} else ""


def _go_on() -> None:
    """What every command sees to at its end: that a watcher which was asked for lives, and that a desk which
    has ended itself is parked."""
    from hotdesk.system import state_folder

    with contextlib.suppress(OSError, HotdeskError):  # the command itself has told what is wrong
        folder = state_folder()
        if (folder / "watcher").exists():
            from hotdesk.loop.watcher import revive

            revive(folder)
        if (folder / "hotdesk.db").exists():
            from hotdesk.loop import autopark

            autopark.begin(folder)
