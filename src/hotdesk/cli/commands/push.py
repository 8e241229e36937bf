"""hotdesk push"""

from __future__ import annotations

from pathlib import Path

import click

from hotdesk.cli.ui import folder_shown, options, render
from hotdesk.cli.ui.live import Live
from hotdesk.services import files, forms


@click.command()
@options.name
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--to",
    "target",
    default="",
    metavar="FOLDER",
    help="Destination folder on the desk.  [default: its home]",
)
@click.option("--all", "everything", is_flag=True, help="Copy whole folders, even what git ignores.")
@options.yes
@options.dry_run
@options.as_json
def command(
    name: str,
    sources: tuple[str, ...],
    target: str,
    *,
    everything: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy files and folders to the desk. Repeated, it copies only changes.

    Each SOURCE is on this computer and is copied into the desk's home, or into --to, which is created if
    needed. As with rsync, `data` copies the folder, `data/` its contents. Inside a folder, files that git or
    .hotdeskignore ignore are skipped, and so is .git; a path named as SOURCE is always copied. Two folders of
    one name are not mixed on the desk, unless --yes.

    \b
    hotdesk push blue train.py data
    hotdesk push blue data --to projects/one
    """
    from hotdesk.connect import copying

    if said := copying.check():
        render.note(said)
    goods = files.gathered(name, sources, target, everything=everything, on_found=folder_shown.note)
    place = f"{name}:{goods.to or '~'}"
    if single := [source for source in sources if Path(source).is_file()]:
        go = "goes" if len(single) == 1 else "go"
        render.note(f"{folder_shown.some(single)} {go} to {render.safe(place)}")
    for alone in _links_alone(sources, goods):
        end = render.safe(str(alone.resolve()))
        more = f"; to send that: hotdesk push {name} {end}" if alone.exists() else ""
        render.note(f"{render.safe(str(alone))} goes as a link, and what it leads to stays here{more}")
    with options.open_desks() as desks:
        access = desks.services.access(name)
    kept: tuple[str, ...] = ()
    if not dry_run:
        with Live() as live:
            kept = files.push(access, goods, live.progress(f"copying to {name}"), anyway=yes).kept
    for link in kept:
        render.note(f"{render.safe(link)} is a link here and a folder at {name}: that one stays.")
    if as_json:
        names = [one for _, names in goods.sources for one in names]
        render.json(forms.copied(name, goods.to or "~", names, kept=kept, dry_run=dry_run))
    elif dry_run:
        render.echo(render.style("Nothing was copied.", "dim"))


def _links_alone(sources: tuple[str, ...], goods: files.Goods) -> list[Path]:
    """Named links that are copied as links while their targets are not copied."""
    places = [folder / name for folder, names in goods.sources for name in names]
    sent = {place.resolve() for place in places if not place.is_symlink()}
    sent |= {above for place in sent for above in place.parents}  # a folder goes with what is in it
    links = [Path(source) for source in sources if not source.endswith(("/", "/."))]
    return [link for link in links if link.is_symlink() and link.resolve() not in sent]
