"""Arguments and options that several commands share."""

from __future__ import annotations

import contextlib
import functools
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hotdesk.api import Hotdesk
from hotdesk.cli.ui import render, terminal
from hotdesk.cli.ui.live import Live
from hotdesk.cli.ui.number import Number
from hotdesk.core import clouds, lengths
from hotdesk.core.errors import HotdeskError, NeedsDecision, Unknown, Usage
from hotdesk.core.model import MarketChoice
from hotdesk.services.limits import Limits

if TYPE_CHECKING:
    from hotdesk.connect.at_work import AtWork
    from hotdesk.core.findings import Remark
    from hotdesk.core.model import Desk
    from hotdesk.services.view import View

    OfCounts = click.ParamType[int]
    OfNumbers = click.ParamType[float]
    OfWords = click.ParamType[str]
else:  # it is generic since 8.5
    OfCounts = OfNumbers = OfWords = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])


class Length(OfNumbers):
    """A duration: 45m, 1.5h, 2d, or a plain number in `unit`. Converts to a number of that unit."""

    name = "time"

    def __init__(
        self, unit: str, *, never: bool = False, positive: bool = False, low: float = -inf, high: float = inf
    ) -> None:
        self.unit, self.never, self.positive, self.low, self.high = unit, never, positive, low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0 for `never`, where that is allowed."""
        if isinstance(value, int | float):
            return float(value)
        if self.never and value == lengths.NEVER:
            return 0.0
        off = f" Or: {param.opts[0]} {lengths.NEVER}." if self.never and param else ""
        try:
            length = lengths.seconds(value, self.unit) / lengths.SECONDS[self.unit]
        except ValueError as error:
            self.fail(f"{error}{off}", param, ctx)
        limits = "finite" if not isfinite(length) else ""
        if self.positive and not length > 0:
            limits = "more than 0"
        elif length < self.low:
            limits = f"at least {self.low:g}{self.unit}"
        elif length > self.high:
            limits = f"at most {self.high:g}{self.unit}"
        if limits:
            self.fail(f"{value!r} is impossible: it must be {limits}.{off}", param, ctx)
        return length


class DeskName(OfWords):
    """A desk's name, completed by the shell."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name. An empty one is an unset shell variable, not the absence of a name."""
        if not value:
            raise Unknown("There is no desk named ''.", "The name that was given is empty.", "hotdesk ls")
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        from hotdesk.state.store import Store
        from hotdesk.system import state_folder

        try:
            with Store(state_folder()) as store:
                desks = store.desks()
        except HotdeskError:  # no errors during completion: the command itself reports them
            return []
        return [CompletionItem(d.name, help=str(d.goal)) for d in desks if d.name.startswith(incomplete)]


name = click.argument("name", type=DeskName())
name_or_only = click.argument("name", type=DeskName(), required=False)


def _speak_json(context: click.Context, param: click.Parameter, value: bool) -> bool:
    terminal.speak_json(value)
    return value


as_json = click.option(
    "--json", "as_json", is_flag=True, is_eager=True, callback=_speak_json, help="Print JSON; ask nothing."
)
dry_run = click.option("--dry-run", is_flag=True, help="Print the plan with its reasons; change nothing.")
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
secrets = click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Pass on a variable of your environment (repeatable).",
)
fresh = click.option(
    "--fresh", is_flag=True, help="Continue from the newest image found, even if later work is lost."
)


def provider(words: str) -> Callable[[F], F]:
    """`--provider NAME`; in the help, `{names}` are those there are."""
    return click.option("--provider", metavar="NAME", help=words.format(names=", ".join(clouds.KNOWN)))


def machine(function: F) -> F:
    """Options that name a machine of one's own by its address; the command gets `address`, None without."""

    @functools.wraps(function)
    def command(*args: Any, host: str | None, **given: Any) -> Any:
        of_host = {name: given.pop(name) for name in ("port", "jump", "folder", "host_key")}
        if host is None:
            if named := next((name for name, value in of_host.items() if value), None):
                option = f"--{named.replace('_', '-')}"
                raise Usage(
                    f"{option} is of a machine, and none is named.",
                    "Which machine?",
                    f"hotdesk up --host me@gpu.example.edu {option} …",
                )
            return function(*args, address=None, **given)
        key = of_host.pop("host_key") or ""
        said = {name: value for name, value in of_host.items() if value}
        return function(*args, address=({"host": host, **said}, key), **given)

    for option in reversed(
        (
            click.option(
                "--host", metavar="ADDRESS", help="A machine of yours, as ssh takes it: me@gpu.lab."
            ),
            click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Its ssh port."),
            click.option("--jump", metavar="ADDRESS", help="Hosts on the way there, as ssh -J takes them."),
            click.option(
                "--folder",
                metavar="FOLDER",
                help="All of hotdesk's is below it there.  [default: ~/.hotdesk]",
            ),
            click.option("--host-key", metavar="FINGERPRINT", help="Its host key: SHA256:…, as it told you."),
        )
    ):
        command = option(command)
    return command  # type: ignore[return-value]


def placed(
    desks: Hotdesk, provider: str | None, address: tuple[dict[str, Any], str] | None, given: dict[str, Any]
) -> str | None:
    """The provider, once a machine that was named is known; `given` then says that it is to be there."""
    if address is None:
        return provider
    from hotdesk.providers import registry

    provider = provider or registry.of_machines()

    def ask(question: str) -> bool:
        return sys.stdin.isatty() and sys.stdout.isatty() and click.confirm(question)

    given["zone"] = desks.services.enter_machine(provider, *address, ask)
    return provider


rescue = click.option(
    "--rescue", is_flag=True, help="Require only a login: ~/.bashrc or Jupyter may be broken."
)
origin = click.option(
    "--from",
    "origin",
    default="",
    metavar="ID",
    help="Continue from this image or volume when several hold work under this name.",
)


spot = click.option("--spot", "market", flag_value="spot", help="On spot only (= --market spot).")


def hardware(function: F) -> F:
    """Options that choose the instance."""
    for option in reversed(
        (
            click.option("--type", "instance_type", metavar="TYPE", help="Instance type, such as g6.xlarge."),
            click.option("--gpu", metavar="GPU", help="GPU model and count: L4, A100:8, or none."),
            click.option(
                "--cheap", is_flag=True, help="CPU only, to write and debug code for cents (= --gpu none)."
            ),
            click.option(
                "--market",
                type=click.Choice([str(market) for market in MarketChoice]),
                help="Market to rent from.  [default: cheapest]",
            ),
            spot,
            click.option("--region", "regions", multiple=True, metavar="REGION", help="Region (repeatable)."),
            click.option("--zone", metavar="ZONE", help="Availability zone, such as us-west-2b."),
            click.option(
                "--initialization-rate",
                type=click.IntRange(100, 300),
                metavar="MIB/S",
                help="Load a restored disk in full at this rate, which is billed; otherwise on first read.",
            ),
            click.option(
                "--disk", "disk_gib", type=click.IntRange(1, 65536), metavar="GIB", help="Disk size."
            ),
            click.option("--image", metavar="ID", help="Base image other than the provider's default."),
            click.option(
                "--max-usd",
                "usd_per_hour_max",
                type=Number(0),
                metavar="USD",
                help="Maximum price per hour.",
            ),
        )
    ):
        function = option(function)
    return function


def leaving(function: F) -> F:
    """Options that say when the instance shuts itself down; the command gets `limits`."""

    @click.option(
        "--idle",
        type=Length("m", never=True, positive=True),
        help="Park after this long without work: 45m, or never.  [default: 60m in a cloud, never locally]",
    )
    @click.option(
        "--lease",
        type=Length("h", never=True, positive=True),
        help="Shut down this long after hotdesk last renewed the lease: 4h, or never.  [default: never]",
    )
    @click.option(
        "--until",
        type=Length("h", never=True, positive=True),
        help="Shut down this long from now, even if busy: 8h, or never.  [default: never]",
    )
    @functools.wraps(function)
    def call(*args: Any, idle: float | None, lease: float | None, until: float | None, **more: Any) -> Any:
        limits = Limits(idle_minutes=idle, lease_hours=lease, hours=until)
        return function(*args, limits=limits, **more)

    return cast(F, call)


def public(function: F) -> F:
    """Options that expose Jupyter; the command gets `public`: "", or who may connect."""

    @click.option(
        "--public",
        "is_public",
        is_flag=True,
        help="Expose Jupyter on the public IP (TLS), to your IP only.",
    )
    @click.option(
        "--public-to", metavar="CIDR", help="Expose Jupyter to this address range, or to everybody."
    )
    @functools.wraps(function)
    def call(*args: Any, is_public: bool, public_to: str | None, **more: Any) -> Any:
        from hotdesk.services.exposure import CALLER, who_may

        who_may(public_to or "")  # before anything is done
        return function(*args, public=public_to or (CALLER if is_public else ""), **more)

    return cast(F, call)


def say_public(shown: Any) -> None:
    """Print who can reach a public Jupyter, and the fingerprint of its certificate."""
    render.note(f"Open to {', '.join(shown.open_to)}, with the password, until: hotdesk notebook --private")
    if "0.0.0.0/0" in shown.open_to:
        warning = "Everybody on the internet can try passwords there."
        render.note(render.style(warning, "red", "bold", stream=sys.stderr))
    render.note("Your browser will warn about the certificate. It is genuine if its SHA-256 fingerprint is")
    render.note(f"  {shown.fingerprint}")


def say_remarks(remarks: Iterable[Remark]) -> None:
    """Print a desk's remarks that its owner should know: a driver, missing files."""
    for remark in remarks:
        render.note(f"  {remark.topic}: {render.safe(remark.text)}.")
        if remark.fix:
            render.note("    " + render.style(render.safe(remark.fix), "yellow", stream=sys.stderr))


def seconds_of(text: str, example: str = "hotdesk stay 2h") -> float:
    """Seconds in a duration such as 90m, 2h, 1.5h or 3d. Raises `Usage`, which gives the `example`."""
    try:
        return lengths.seconds(text)
    except ValueError as error:
        raise Usage(str(error), "", example) from None


notify = click.option(
    "--notify", is_flag=True, help="Tell you when it is done ([notify] in hotdesk.toml says how)."
)

over_budget = click.option(
    "--over-budget", is_flag=True, help="Allow exceeding the monthly budget, usd_per_month."
)


def open_desks(live: Live | None = None, over_budget: bool = False) -> Hotdesk:
    """The façade, telling `live` what it does."""
    if live is None:
        return Hotdesk(on_note=render.note, over_budget=over_budget)
    return Hotdesk(
        on_row=live.row,
        on_wait=live.wait,
        on_busy=live.busy,
        on_note=render.note,
        over_budget=over_budget,
    )


def say_frozen(desks: Hotdesk) -> None:
    """What a command that only reads says where nothing can be written down."""
    if why := desks.services.store.frozen:
        render.note(f"{why} Reading works, changing anything may not: df -h")


@contextlib.contextmanager
def asking(question: str) -> Iterator[None]:
    """Put what needs a decision to the person at this terminal; go on where they agree."""
    try:
        yield
    except NeedsDecision as found:
        if not terminal.can_ask():
            raise
        if not click.confirm(f"{found.what} {found.why} {question}", err=True):
            raise click.Abort from None


def agreed(question: str, yes: bool, again: str) -> None:
    """Ask, unless told yes. Raises `NeedsDecision` where nobody can be asked; `again` is what agrees."""
    if yes:
        return
    if not terminal.can_ask():
        why = "--json asks nothing." if terminal.speaks_json() else "There is no terminal to ask at."
        raise NeedsDecision(question, why, again)
    if not click.confirm(question, err=True):
        raise click.Abort


def agreed_to_end(desks: Hotdesk, desk: Desk, yes: bool, deleted: str = "") -> None:
    """Ask before a machine ends at which something works, or that holds what is in no image.

    `deleted`: the question about what goes for good besides, which is always asked. Raises `NeedsDecision`
    where nobody can be asked.
    """
    if yes:
        return
    name, at = desk.name, desks.services.work
    work, lost = at.at_work(desk), [] if deleted else at.at_stake(desk)
    if work.open:
        render.note(f"Open on {name}, and will be closed: {render.safe('; '.join(work.open))}.")
    found = [f"Running on {name}: {'; '.join(work.works)}."] if work.works else []
    found += [f"Not saved: {'; '.join(work.unsaved)}."] if work.unsaved else []
    found += [f"Not in any image, and will be lost: {'; '.join(lost)}."] if lost else []
    words = sys.argv[1:]
    words.insert(words.index("--") if "--" in words else len(words), "--yes")
    again = shlex.join(["hotdesk", *words])
    if found and not terminal.can_ask():
        why = "This would be stopped, and nobody can be asked here."
        raise NeedsDecision(render.safe(" ".join(found)), why, again)
    if found or deleted:
        agreed(" ".join([*map(render.safe, found), deleted or "End that?"]), yes, again)


def _show_work(work: AtWork) -> None:
    """What a dry run says of the work that would end."""
    for words, what in (
        ("running there (asks first)", work.works),
        ("not saved there (asks first)", work.unsaved),
        ("open there (will be closed)", work.open),
    ):
        if what:
            render.paragraph(f"  {words}: {render.safe('; '.join(what))}", indent=2)


def show_plan(desks: Hotdesk, desk: Desk, ends: Desk | None = None, route: str = "auto") -> None:
    """A dry run: the steps to this row's goal, each with its reason, and what would end with the machine of
    `ends`."""
    from hotdesk.cli.ui.plans import carried, document, lines

    steps = desks.services.goals.steps(desk)
    work = desks.services.work.at_work(ends) if ends else None
    goods = desks.services.carrying.planned(ends, desk, route) if ends else None
    if terminal.speaks_json():
        render.json(document(desk, steps, work, goods))
        return
    for line in carried(desk.name, goods) if goods else ():
        render.paragraph(line, indent=2)
    for line in lines(desk, steps):
        render.paragraph(line, indent=3)
    if work:
        _show_work(work)


def show_carried(desks: Hotdesk, desk: Desk, moved: Desk, route: str) -> str:
    """What goes to another place, before anybody is asked; which way it goes."""
    from hotdesk.cli.ui.plans import carried

    goods = desks.services.carrying.planned(desk, moved, route)
    for line in carried(desk.name, goods) if goods else ():
        render.note(line)
    return goods["route"]["by"] if goods and goods["route"] else "here"


def say_desk(desks: Hotdesk, view: View) -> None:
    """A verb's answer as JSON: the desk, as `show --json` gives it."""
    from hotdesk.services import forms

    ports = desks.services.forwarding.listed(view.name)
    render.json(forms.shown(view, desks.log(view.name, limit=20), ports))


def valued(command: click.Command, ctx: click.Context) -> dict[str, bool]:
    """By spelling of each option of a command: whether a value follows it."""
    return {
        name: not (param.is_flag or param.count)
        for param in command.get_params(ctx)
        if isinstance(param, click.Option)
        for name in param.opts
    }
