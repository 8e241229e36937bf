"""The guides that `hotdesk guide` prints: their tables are made of the program's own."""

from __future__ import annotations

from collections.abc import Iterable

from hotdesk.core.errors import EXIT_CODES, NEED_A_PERSON
from hotdesk.services.schemas import SHAPES

#: What a command may cost or end, for those that may. The others only read, or act on this computer alone.
EFFECTS = {
    "up": "starts paying by the hour",
    "resume": "starts paying by the hour",
    "start": "starts paying by the hour",
    "move": "ends the machine, launches another: what runs there ends",
    "disk": "makes the disk bigger for good: charged from then on, and never smaller again",
    "run": "starts paying by the hour; parks the desk at the end, unless --then says otherwise",
    "sweep": "start, retry: starts paying by the hour; deletes its own machines at the end",
    "notify": "tells the person: desktop, bell, and what [notify] in hotdesk.toml names",
    "watch": "brings desks to their goals: may launch what was wanted running",
    "stay": "keeps a desk running, and paid, for longer",
    "park": "ends the machine after everything is saved and verified: what runs there ends",
    "stop": "ends the machine, keeps its disk, which is paid: what runs there ends",
    "down": "DELETES the desk, its images and its work",
    "gc": "with --yes deletes what no desk needs",
    "cancel": "ends a job",
    "push": "overwrites files of the same names at the desk",
    "ssh": "runs what you tell it to, at the desk",
    "forward": "keeps a port open on this computer's loopback, in the background",
    "notebook": "--public opens Jupyter to other addresses",
    "bench": "with a desk's name uses that desk's time",
    "costs": "--compare asks the cloud's bill, which may cost cents",
    "uninstall": "removes the state folder, with the keys of its desks",
    "doctor": "--fix and --adopt change what they say",
}

#: Options that stand for a person's agreement.
AGREEMENTS = ("--yes", "--over-budget", "--fresh", "--from", "--public", "--public-to", "--send-credentials")

#: Commands without --json: they attach to a terminal, open the page, or print a file of another form.
NO_JSON = ("attach", "completion", "guide", "iam", "schema", "web")

_PEOPLE = """\
hotdesk up blue                         open a desk: an instance with ssh and Jupyter
hotdesk notebook blue                   Jupyter in your browser
hotdesk ssh blue                        a terminal there
hotdesk run blue -- python train.py     copy this folder there, run, and park the desk at the end
hotdesk pull blue results               copy files back
hotdesk park blue                       leave: everything is saved, nothing is paid
hotdesk resume blue                     come back to everything
hotdesk ls                              your desks, and what they cost

Each command explains itself: hotdesk run --help. Before anything acts: --dry-run. When something is wrong:
hotdesk doctor. For a coding agent: hotdesk guide --agent."""

_AGENTS = """\
# hotdesk, for a coding agent

hotdesk opens *desks*: a named machine, on this computer (free) or rented in a cloud, with files, packages,
ssh and Jupyter. `park` saves all of it and ends the machine, `resume` brings it back.

## Rules

* Add `--json` to every command (but {no_json}). Standard output is then one JSON document,
  `{"error": …}` where the command failed; progress is on standard error. With `--json` nothing is ever asked.
* Add `--dry-run` first to what acts: the plan has every step, its reason, the price, and `needs_person`.
* Ask a person where `needs_person` is true and after the exit codes {person}. These options are that person's
  agreement; never add one by yourself, not even where `fix` holds it:
  {agreements}.
* A rented desk costs money while it runs. When you are done: `hotdesk park NAME --json`. Say what is left
  running: `hotdesk ls --json` has `usd_per_hour` and `cost_usd` of every desk.
* Never edit the state folder, and never end hotdesk's processes. Every command may be repeated: it continues
  where it stopped. Lengths carry their unit (45m, 2h); times are seconds since the epoch, money US dollars.

## A job, from beginning to end

```sh
hotdesk run blue --dry-run --json -- python train.py       # the machine, its price, what will be copied
hotdesk run blue --pull results --detach --json -- python train.py
hotdesk jobs blue --json                                   # until `settled` is true; then `exit_status`
hotdesk logs blue --json                                   # what it has said
hotdesk ssh blue --json -- nvidia-smi                      # one command at the desk
hotdesk ls --json                                          # `phase` is parked: nothing is paid by the hour
```

## Commands

These cost money, or end something. `hotdesk COMMAND --help` has the options.

{commands}

These only read, or act on this computer alone: {others}.

## Exit codes

{codes}

`hotdesk run`, `logs -f` and `ssh NAME -- COMMAND` exit with the status of the job or command: look for
`error` in the document to tell that from a failure of hotdesk.

## Shapes

`hotdesk schema NAME` prints the JSON Schema.

{shapes}"""


def for_people() -> str:
    """The commands of a day."""
    return _PEOPLE


def for_agents() -> str:
    """What a coding agent has to know, in Markdown."""
    from hotdesk.cli.main import COMMANDS

    every = {name: about for section in COMMANDS.values() for name, about in section.items()}
    rows = ((f"`{name}`", every[name], effect) for name, effect in EFFECTS.items())
    shapes = ((f"`{name}`", ", ".join(f"`{one}`" for one in by)) for name, (_, by) in SHAPES.items())
    filled = {
        "person": " and ".join(map(str, sorted(NEED_A_PERSON))),
        "agreements": ", ".join(f"`{option}`" for option in AGREEMENTS),
        "no_json": ", ".join(f"`{name}`" for name in NO_JSON),
        "others": ", ".join(f"`{name}`" for name in every if name not in EFFECTS),
        "commands": _table(("command", "what it does", "what it costs or ends"), rows),
        "codes": _table(("code", "meaning"), ((str(code), said) for code, said in EXIT_CODES.items())),
        "shapes": _table(("shape", "printed by"), shapes),
    }
    text = _AGENTS
    for name, value in filled.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
