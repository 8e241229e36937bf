"""hotdesk run"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from hotdesk import config
from hotdesk.cli.ui import folder_shown, options, render, run_planned, run_words, terminal
from hotdesk.cli.ui.live import Live
from hotdesk.cli.ui.number import Number
from hotdesk.cli.ui.run_planned import plan_options
from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Goal, Market
from hotdesk.services import forms, run_checks
from hotdesk.services.job_cost import JobCost, expected
from hotdesk.services.jobs import THEN, JobRequest, described

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.core.jobs import Job
    from hotdesk.core.model import Desk
    from hotdesk.services.shapes import RunPlan

#: Options that a job of hotdesk.toml has as settings.
_JOB_OPTIONS = frozenset(config.JobSettings.__struct_fields__) - {"command"}


_ON_OFF = frozenset({"install"})  # of these, those that have an option for "no"


@click.command(cls=run_words.Command)
@options.name
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="JOB | -- COMMAND...")
@click.option(
    "--resume-command", metavar="LINE", help="Command after an interruption.  [default: the same command]"
)
@click.option("--checkpoint", metavar="FOLDER", help="Folder where the job writes checkpoints.")
@click.option(
    "--signal",
    type=click.Choice(config.SIGNALS),
    help="Signal that asks the job for a checkpoint before an interruption.  [default: USR1]",
)
@click.option(
    "--grace",
    type=options.Length("s", low=0),
    help="Time between SIGTERM and SIGKILL.  [default: 20s; 40s under torchrun]",
)
@click.option(
    "--env",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Environment variable of the job; without VALUE, of this environment (repeatable).",
)
@click.option(
    "--env-file",
    multiple=True,
    metavar="FILE",
    help="Variables from lines KEY=VALUE; the file stays here (repeatable).",
)
@click.option(
    "--secret",
    multiple=True,
    metavar="KEY",
    help="Variable that is secret, from this environment or asked for here (repeatable).",
)
@click.option(
    "--pull", multiple=True, metavar="PATH", help="Fetch this from the job's folder at the end (repeatable)."
)
@click.option(
    "--then",
    type=click.Choice(config.THEN),
    help="What to do with the desk at the end.  [default: park]",
)
@click.option("--work", type=options.Length("h", positive=True), help="Run time of the job: 12h.")
@click.option("--deadline", type=options.Length("h"), help="Latest end, from now: 18h.")
@click.option("--budget", type=Number(0), metavar="USD", help="Maximum expected cost.")
@click.option(
    "--install/--no-install",
    default=None,
    help="Install requirements.txt, uv.lock, environment.yml or pyproject.toml at the desk, if changed."
    "  [default: as decided before]",
)
@options.notify
@options.over_budget
@click.option("--detach", is_flag=True, help="Return at once; a background watcher takes over.")
@click.option("--no-push", is_flag=True, help="Do not copy the current folder to the desk.")
@click.option("--all", is_flag=True, help="Copy the whole folder, even what git ignores.")
@plan_options
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, name: str, words: tuple[str, ...], **given: Any) -> None:
    """Run a long job on a desk: hotdesk run blue -- python train.py

    Without --, one word after the desk is a job of hotdesk.toml, as [jobs.train] describes it: hotdesk run
    blue train. Options given count more than what is there.

    Copies the current folder there (except what git or .hotdeskignore ignores), starts the command and
    follows its output. The job does not need this computer: Ctrl-C stops following, not the job. After an
    interruption the command is started again. Exits with the command's own status.
    """
    from hotdesk.loop import watcher

    as_json = given.pop("as_json")
    with (
        Live() as live,
        options.open_desks(live, given.pop("over_budget")) as desks,
        contextlib.ExitStack() as login,
    ):
        try:
            job = _queued(desks, name, words, run_words.job_of(ctx), given=given, live=live, login=login)
        except KeyboardInterrupt:
            if as_json:
                raise
            render.note(f"\nStopped: no job was begun. {_left(desks, name)}")
            ctx.exit(130)
        if job is None:  # a dry run
            return
        watcher.ask_for(desks.services.store, forever=False)  # should this process or this terminal end
        render.note(f"Job {job.number} on {name}: {' '.join(job.words.split())}")
        if desks.services.store.desk(name).goal is not Goal.RUNNING:  # the job before it was over just now
            desks.up(name)
        if given["detach"]:
            goes_on(desks, job)
            if as_json:
                _answer(desks, job)
            return
        say = _say_beside if as_json else _say
        try:
            job = desks.services.runs(live.progress("fetching its results")).pursue(job, say, render.note)
        except KeyboardInterrupt:
            goes_on(desks, job)
            if as_json:
                _answer(desks, job)
            ctx.exit(130)
        rest = rests(desks, job)
        if as_json:
            _answer(desks, job)
        desks.services.notices.send()
    status = report(job)
    if job.result is not None:
        render.note(rest)
    ctx.exit(status)


def _settings(words: tuple[str, ...], given: dict[str, Any]) -> config.JobSettings:
    """The options that were given, as a job of hotdesk.toml would have them."""
    told = {name: given[name] for name in _JOB_OPTIONS - {"env", "secret"}}
    told = {name: value for name, value in told.items() if value is not None and value != ()}
    return config.JobSettings(
        command=words, **{k: v for k, v in told.items() if v is not False or k in _ON_OFF}
    )


def _queued(
    desks: Hotdesk,
    name: str,
    words: tuple[str, ...],
    job: str,
    *,
    given: dict[str, Any],
    live: Live,
    login: contextlib.ExitStack,
) -> Job | None:
    told = described(_settings(words, given))
    told |= {"env": run_words.variables(given["env"])} if given["env"] else {}
    told |= {"secret": run_words.secrets(given["secret"])} if given["secret"] else {}
    request = desks.services.jobs.requested(job, told, Path.cwd(), name)
    request = replace(request, push=not given["no_push"], anyway=given["yes"])
    if not given["dry_run"]:
        request = run_words.asked(request)
    request.check(dry_run=given["dry_run"])
    here, jobs = Path.cwd(), desks.services.jobs
    if said := run_checks.check_computer(request):
        render.note(said)
    if not (given["dry_run"] or request.anyway):
        with options.asking(f"Make a desk called {name}?"):
            run_checks.check_name_is_meant(desks.services.goals, name, request.command, job)
    if found := run_checks.found_in_folder(request):
        folder_shown.note(found, name)
        for line in islice(folder_shown.left_behind(found, name), folder_shown.NAMES):
            render.note(line)
        with options.asking("Run it all the same?"):
            run_checks.check_folder(name, request, found)
        if not (given["dry_run"] or request.anyway):
            request = run_words.offered(jobs.installing, name, request, found.names)
    if given["plan"]:
        plan = run_planned.choose(desks, name, request, given["plan"])
        work, due = jobs.agreed(plan.row, replace(request, work_seconds=plan.work_seconds))
        if given["dry_run"]:
            _show(desks, request, plan.row, work)
            return None
        if plan.moves:
            desks.move(name, plan.row.want, anyway=True)  # `choose` has asked
        else:
            desks.up(name, want=plan.row.want, provider=plan.row.provider)
    else:
        work, due = jobs.agreed(name, request)
        row = desks.services.goals.wanted(name, Goal.RUNNING)
        if given["dry_run"]:
            _show(desks, request, row, work)
            return None
        if (cost := expected(desks.services.goals, row, work)) and cost.usd_per_hour:
            render.note(cost_words(cost))
        desks.up(name)
    shown = live.progress(f"copying {here.name} to {name}")
    desk = desks.services.store.desk(name)
    try:
        login.enter_context(desks.services.one_login(name))
        return jobs.queue(
            desk,
            request,
            work,
            due,
            on_progress=shown,
            on_kept=lambda links: _kept(links, name),
            on_note=render.note,
        )
    except KeyboardInterrupt:
        render.note(
            f"\nThe copying was stopped, and no job was started. {name} stays up: hotdesk park {name}\n"
            "The same command again copies only what is missing."
        )
        raise SystemExit(130) from None
    except HotdeskError:
        render.note(f"No job was started, and {name} stays up; to leave it: hotdesk park {name}")
        raise


def _kept(links: Sequence[str], name: str) -> None:
    for link in links:
        render.note(f"{render.safe(link)} is a link here and a folder at {name}: that one stays.")


def cost_words(cost: JobCost) -> str:
    """What a run costs an hour, and in all where its time is known."""
    thing = f"{cost.machine} on spot" if cost.market == Market.SPOT else cost.machine
    price = render.per_hour(cost.usd_per_hour, cost.told_per_hour)
    price += f" ({render.as_of(cost.price_time)})" if cost.price_time else ""
    said = f"{render.at(thing, cost.place)}{', which runs already' if cost.runs_already else ''}: {price}"
    if cost.hours is None or cost.usd is None:
        return f"{said}; the run time of this job is not known (--work 10h)"
    took = render.duration(cost.hours * 3600)
    start = "" if cost.runs_already else " and the start"
    return f"{said}, about {cost.told or render.usd(cost.usd)} for {took} of work{start}"


def _show(desks: Hotdesk, request: JobRequest, row: Desk, work_seconds: float) -> None:
    """Print a dry run: the steps for the desk, the job, and its cost."""
    from hotdesk.cli.ui import plans

    name, steps = row.name, desks.services.goals.steps(row)
    before = [job for job in desks.services.store.jobs(name, unsettled=True) if job.result is None]
    cost = expected(desks.services.goals, row, work_seconds)
    if terminal.speaks_json():
        plan: RunPlan = {
            "plan": plans.document(row, steps, None),
            "command": request.line,
            "variables": sorted(request.gathered.variables.values),
            "missing": list(request.gathered.missing),
            "after": before[-1].number if before else None,
            "pull": list(request.pull),
            "then": next(verb for verb, goal in THEN.items() if goal is request.then),
            "cost": cost,
        }
        render.json(plan)
        return
    for text in plans.lines(row, steps, last=""):
        render.paragraph(text, indent=3)
    if cost and cost.usd_per_hour:
        render.echo(cost_words(cost))
    render.echo(f"Then run: {request.line}" + (f", when job {before[-1].number} has ended" if before else ""))
    if names := sorted(request.gathered.variables.values):
        render.echo(f"With the variables: {', '.join(names)}")
    if missing := request.gathered.missing:
        lines = "; ".join(f"read -rs {name} && export {name}" for name in missing)
        render.echo(f"Not set here: {', '.join(missing)}. A run asks at a terminal; elsewhere: {lines}")
    if request.pull:
        render.echo(f"Then fetch {', '.join(request.pull)} into {request.folder}")
    if request.then is not None:
        verb = next(verb for verb, goal in THEN.items() if goal is request.then)
        render.echo(f"Then {verb} {name}, unless something else works there")
    render.echo(render.style("Nothing was done.", "dim"))


def _left(desks: Hotdesk, name: str) -> str:
    """Say what is left of a run that was stopped before its job was queued."""
    desk = desks.services.store.find(name)
    if desk is None or desk.goal is not Goal.RUNNING:
        return "Nothing was launched."
    return f"{name} was wanted running and stays so; to leave it: hotdesk park {name}"


def _say(words: bytes) -> None:
    render.lift()
    sys.stdout.buffer.write(words)
    sys.stdout.buffer.flush()


def _say_beside(words: bytes) -> None:
    sys.stderr.buffer.write(words)
    sys.stderr.buffer.flush()


def _answer(desks: Hotdesk, job: Job) -> None:
    """The job, as `jobs --json` gives it."""
    views = desks.services.jobs.views(job.desk, 1_000_000)
    render.json(next(forms.job(view) for view in views if view.job.number == job.number))


def goes_on(desks: Hotdesk, job: Job) -> None:
    """Say what happens to a job that runs detached."""
    job = desks.services.store.job(job.desk, job.number)
    before = [
        j
        for j in desks.services.store.jobs(job.desk, unsettled=True)
        if j.number < job.number and not j.result
    ]
    if job.result is not None:
        rest = f"fetches {', '.join(job.pull)} and " if job.pull and not job.pulled else ""
        words = f"has ended; a watcher {rest}brings {job.desk} to rest"
    elif before:
        words = f"waits for job {before[-1].number} at {job.desk}; a watcher begins it then"
    else:
        words = f"goes on at {job.desk}; a watcher looks after it"
    render.note(
        f"\nJob {job.number} {words}.\n"
        f"  hotdesk logs {job.desk} {job.number} -f\n"
        f"  hotdesk cancel {job.desk} {job.number}"
    )


def rests(desks: Hotdesk, job: Job) -> str:
    """The state of the desk after its job, and what to do next."""
    name, desk = job.desk, desks.services.store.find(job.desk)
    if desk is None or desk.goal is Goal.GONE:
        return f"{name} is gone."
    if job.stayed:
        why = render.safe(job.stayed)
        return f"{name} stays up, and is paid for: {why}. When that is done: hotdesk park {name}"
    if desk.goal is Goal.RUNNING:
        why = "--then stay" if job.then is None else "it is wanted running"
        return f"{name} stays up ({why}); to leave it: hotdesk park {name}"
    word, verb = ("parked", "resume") if desk.goal is Goal.PARKED else ("stopped", "start")
    if desks.show(name).phase == word:
        return f"{name} is {word}; to come back: hotdesk {verb} {name}"
    return f"{name} is not {word} yet; to see to it: hotdesk watch --once {name}"


def report(job: Job) -> int:
    """Say how a job ended; the exit status that `hotdesk run` gives for it."""
    result = job.result
    if result is None:
        render.note(f"Job {job.number} waits: {job.desk} is not wanted running. hotdesk resume {job.desk}")
        return 5
    took = f"{result.seconds:.0f} s" + (f", {render.usd(result.usd)}" if result.usd else "")
    again = f", {result.attempts} attempts" if result.attempts > 1 else ""
    if result.exit_status is None:
        fix = f"hotdesk logs {job.desk} {job.number}" if result.attempts else f"hotdesk jobs {job.desk}"
        render.error(f"Job {job.number} did not end: {result.why}.", "", fix)
        return 5
    word = "✓" if result.exit_status == 0 else f"✗ exit status {result.exit_status}:"
    why = f" ({result.why})" if result.why else ""
    render.note(f"{word} job {job.number} ran for {took}{again}{why}")
    for line in job.fetched:
        render.note(render.safe(line))
    return result.exit_status
