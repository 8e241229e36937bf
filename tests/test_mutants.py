"""Deliberate faults in the planner, the journal and the loop: each must be noticed by some story.

A mutant is one substitution in one source file, applied in a process of its own while the file is imported;
the named story then has to fail. A fault that no story notices means that a story, or the line, lacks a reason.
Run one by hand: `PYTHONPATH=src:. python -m tests.test_mutants NUMBER`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PLAN, PAST, STEPS, MODEL = "core/plan", "core/past", "core/steps", "core/model"
LOOP, STORE = "reconcile", "store"

#: What is done wrong, in which file, the line as it is, as it must not be, and the stories that notice it.
MUTANTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "skip verify",
        PLAN,
        "next((i for i in taken if i.verified and i.phase is Phase.READY), None)",
        "next((i for i in taken if i.phase is Phase.READY), None)",
        "days",
    ),
    (
        "resume from an unverified image",
        MODEL,
        "whole = [i for i in self.images if i.verified and i.phase is Phase.READY]",
        "whole = [i for i in self.images if i.phase is Phase.READY]",
        "days",
    ),
    (
        "resume from the oldest image, prune the newer",
        MODEL,
        "return max(whole, key=lambda i: (*i.age, i.id), default=None)",
        "return min(whole, key=lambda i: (*i.age, i.id), default=None)",
        "days",
    ),
    (
        "trust an image from before the last start",
        PLAN,
        "isinstance(source, Disk) or image.taken_at > source.started_at",
        "True",
        "histories.test_an_image_from_before_the_last_start_is_not_the_save",
    ),
    (
        "trust an image from before the interrupted machine's last start",
        PLAN,
        "image.source_id == source.instance_id and image.taken_at > source.started_at",
        "image.source_id == source.instance_id",
        "days",
    ),
    (
        "image generation ignored: any image supersedes a disk",
        PLAN,
        "newest is not None and (newest.generation > disk.generation or _is_of(newest, disk))",
        "newest is not None",
        "days",
    ),
    (
        "a disk is superseded by an image of its own generation",
        PLAN,
        "newest.generation > disk.generation or",
        "newest.generation >= disk.generation or",
        "days",
    ),
    (
        "delete before verified",
        PLAN,
        "return [*_finish(unfinished[0], seen), gone]",
        "return [gone]",
        "days",
    ),
    (
        "an image that is being deleted counts as the save",
        PLAN,
        "return image.phase not in {Phase.FAILED, Phase.ENDING} and not rotten",
        "return image.phase is not Phase.FAILED and not rotten",
        "days",
    ),
    (
        "treat FAILED as READY",
        PLAN,
        "return image.phase not in {Phase.FAILED, Phase.ENDING} and not rotten",
        "return image.phase is not Phase.ENDING and not rotten",
        "days",
    ),
    ("a rotten image is read back again and again", PLAN, "and not rotten", "", "days"),
    (
        "delete instead of release",
        PLAN,
        "        keep_disk=True,\n",
        "        keep_disk=False,\n",
        "crash",
    ),
    (
        "new name after an unknown outcome",
        PLAN,
        "if prior.unsure and as_wanted:",
        "if False:",
        "histories.test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it",
    ),
    (
        "an old order repeated with an image that is no longer the newest",
        PLAN,
        'prior_order.image_id in ({i.id for i in same} or {""})',
        "True",
        "days",
    ),
    (
        "a new name from the clock",
        STEPS,
        "(self.desk, self.born, self.generation, self.attempt, place.key,",
        '(__import__("time").perf_counter_ns(), self.generation, self.attempt, place.key,',
        "histories.test_a_reply_is_lost_at_every_call histories.test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it",
    ),
    (
        "one token for two orders",
        STEPS,
        "self.generation, self.attempt, place.key,",
        "self.generation, place.key,",
        "days",
    ),
    (
        "a new desk uses the tokens of an old one",
        STEPS,
        "(self.desk, self.born, self.generation, self.attempt, place.key,",
        "(self.desk, self.generation, self.attempt, place.key,",
        "histories.test_a_name_that_is_used_again_is_a_new_desk",
    ),
    (
        "an image's name without the start it belongs to",
        STEPS,
        "-g{self.generation}-{_digest(self)[:12]}",
        "-g{self.generation}-{self.attempt}",
        "days",
    ),
    (
        "ignore ENDING",
        PLAN,
        "if any(m.phase is Phase.ENDING for m in seen.machines):",
        "if False:",
        "days",
    ),
    ("ignore unread regions", PLAN, "if seen.unread:", "if False:", "days"),
    (
        "twins: delete either",
        PLAN,
        "if past.made(twin) and twin.id not in past.proven:",
        "if True:",
        "histories.test_two_machines_that_may_both_hold_work_are_left_alone",
    ),
    (
        "twins: delete neither",
        PLAN,
        "if past.made(twin) and twin.id not in past.proven:",
        "if False:",
        "histories.test_a_late_twin_that_nobody_was_told_of_goes_by_itself",
    ),
    (
        "missing work is not asked about",
        PLAN,
        "    if question := _missing_work(desk, seen, past):",
        "    if question := None:",
        "histories.test_work_that_somebody_deleted_is_a_question_and_fresh_is_its_answer",
    ),
    (
        "fresh for ever",
        PLAN,
        "not (desk.fresh and proof.at < desk.since)",
        "not desk.fresh",
        "histories.test_work_that_somebody_deleted_is_a_question_and_fresh_is_its_answer",
    ),
    (
        "launch elsewhere from the image that is here",
        PLAN,
        "image = next((i for i in same if i.region == offer.region), newest)",
        "image = newest",
        "crash",
    ),
    (
        "a copy is paid for ever",
        PLAN,
        "held = image.age <= newest.age or",
        "held = image.age < newest.age or",
        "days",
    ),
    (
        "a generation is used twice",
        PLAN,
        "generation = max([desk.generation, *(thing.generation + 1 for thing in seen_so_far)])",
        "generation = desk.generation",
        "days",
    ),
    (
        "a refused offer is asked again at once",
        PLAN,
        "next((o for o in desk.offers if not past.refusal(o.key, now)), None)",
        "next(iter(desk.offers), None)",
        "histories.test_sold_out_everywhere_is_a_question_that_names_every_place",
    ),
    (
        "a refusal is believed for ever",
        PLAN,
        "    if left <= 0:",
        "    if False:",
        "days",
    ),
    (
        "an old refusal blocks a new command",
        PLAN,
        "or row.outcome is None or row.at < desk.since:",
        "or row.outcome is None:",
        "histories.test_a_refusal_at_every_call_ends_well_or_in_a_question",
    ),
    (
        "images are taken without end",
        PLAN,
        "and (tried >= TRIES or failed.kind",
        "and (False or failed.kind",
        "histories.test_images_that_fail_again_and_again_are_a_question_and_nothing_is_lost",
    ),
    (
        "copies are made without end",
        PLAN,
        "if past.begun(copy.key, desk.since) >= TRIES:",
        "if False:",
        "histories.test_a_copy_that_fails_again_and_again_is_a_question",
    ),
    (
        "started without end",
        PLAN,
        'if past.begun(f"start:{live.id}", max(desk.since, proven_at)) >= TRIES:',
        "if past.begun(step.key, desk.since) >= TRIES:",
        "histories.test_a_machine_that_stops_after_every_start_is_a_question",
    ),
    (
        "a login from before the wish is a proof",
        PLAN,
        "if proof and proof.done and proof.at >= desk.since:",
        "if proof and proof.done:",
        "days",
    ),
    (
        "a proof is not needed",
        PLAN,
        "return _prove(live, desk, past, now) or _prune(desk, seen)",
        "return _prune(desk, seen)",
        "days",
    ),
    (
        "the first look of a second computer is believed",
        PLAN,
        "if seen.images and not past.last and 0 <=",
        "if False and 0 <=",
        "histories.test_the_first_look_of_a_second_computer_waits_for_what_was_just_saved",
    ),
    (
        "trust one look",
        PAST,
        "if row.refused or abs(now - ended) >= seen.lag_seconds:",
        "if row.refused or abs(now - ended) >= seen.lag_seconds or _shows(row, seen):",
        "days",
    ),
    ("the lag is ignored", PAST, "        return lagging\n", "        return None\n", "days crash"),
    (
        "the lag is counted from the beginning of a call",
        PAST,
        "ended = row.at if row.ended_at is None else row.ended_at",
        "ended = row.at",
        "days",
    ),
    (
        "a start is believed at once",
        PAST,
        "(i.phase is not Phase.STOPPED or i.started_at != before)",
        "True",
        "days",
    ),
    (
        "a stop is believed at once",
        PAST,
        "(i.phase not in {Phase.READY, Phase.PENDING} or i.started_at != before)",
        "True",
        "days",
    ),
    (
        "a deletion is believed at once",
        PAST,
        "            return gone and id_ not in",
        "            return gone or id_ not in",
        "days",
    ),
    (
        "an older image of the generation holds the last work",
        PAST,
        "(image.generation == generation and image.taken_at > started_at)",
        "image.generation == generation",
        "days",
    ),
    (
        "the journal is written after the act",
        LOOP,
        "        begun = self.store.begin([(desk.name, step) for desk, step in acts], at)\n",
        "        done = [self._attempt(desk, step) for desk, step in acts]\n"
        "        self._attempt = lambda desk, step: done.pop(0)\n"
        "        begun = self.store.begin([(desk.name, step) for desk, step in acts], at)\n"
        "        self.__dict__['_attempt'] = lambda d, s, o=iter(done): (next(o), self.__dict__.pop('_attempt', 0))[0]\n",
        "days",
    ),
    (
        "the lag is counted from after the look",
        LOOP,
        "        by_desk = {name: survey.by_desk()",
        "        now = self.clock.now()\n        by_desk = {name: survey.by_desk()",
        "days",
    ),
    (
        "a step that was cut off is dated by its beginning",
        LOOP,
        "        self._end_what_was_cut_off(desks)\n",
        "",
        "days",
    ),
    (
        "gone is said at the first empty look",
        LOOP,
        "        case [] if desk.goal is Goal.GONE:\n            return True\n",
        "        case [] if desk.goal is Goal.GONE:\n            return False\n",
        "days",
    ),
    (
        "parked is said while a disk may come late",
        LOOP,
        "            return past.launch.step.order.generation >",
        "            return False and past.launch.step.order.generation >",
        "days",
    ),
    (
        "lost work is said at the first look",
        LOOP,
        "            return absence\n",
        "            return False\n",
        "days",
    ),
    (
        "an unknown outcome is taken for a no",
        LOOP,
        'return Outcome(status="unknown", message=f"{type',
        'return Outcome(status="refused", message=f"{type',
        "days",
    ),
    (
        "an unknown outcome is taken for a yes",
        LOOP,
        'return Outcome(status="unknown", message=f"{type',
        'return Outcome(status="done", message=f"{type',
        "days",
    ),
    (
        "a clock set back hides what is written",
        LOOP,
        "at = max([now, *(max(desk.since, desk.created_at) for desk, _ in acts)])",
        "at = now",
        "days",
    ),
    (
        "a new desk remembers the old one of its name",
        STORE,
        'query = _ROW + "WHERE desk = ? AND at >= ? AND',
        'query = _ROW + "WHERE desk = ? AND ? > 0 AND',
        "histories.test_a_name_that_is_used_again_is_a_new_desk",
    ),
    (
        "an end is not told to other processes",
        STORE,
        '"UPDATE journal SET ended_at = ?, outcome = ?, change = ? WHERE id = ?",\n'
        "                (now, _encode(outcome), change, row.id),",
        '"UPDATE journal SET ended_at = ?, outcome = ? WHERE id = ?",\n'
        "                (now, _encode(outcome), row.id),",
        "days",
    ),
)


def hunt(number: int) -> str:
    """Apply a mutant to this process and tell its stories until one objects; what it said, or ""."""
    _, file, line, wrong, stories = MUTANTS[number]
    apply(file, line, wrong)
    for story in stories.split():
        try:
            tell(story)
        except Exception as error:
            return f"{story}: {type(error).__name__}: {str(error)[-300:]}"
    return ""


def tell(story: str) -> None:
    if story == "days":
        from tests.test_chaos import live

        for seed in range(int(os.environ.get("HOTDESK_HUNT", "150"))):
            live(seed)
    elif story == "crash":
        from hotdesk.core.model import Market
        from tests.test_crash import CrashAt, a_laptop, day, live_through

        for market in Market:
            for at in range(1, 500, 7):
                live_through(a_laptop(CrashAt(at), 0), day(market))
    else:
        from tests import test_histories

        test = getattr(test_histories, story.removeprefix("histories."))
        marks = getattr(test, "pytestmark", [])
        for arguments in _combinations(marks):
            test(**arguments)


def _combinations(marks: list[pytest.Mark]) -> list[dict[str, object]]:
    every: list[dict[str, object]] = [{}]
    for mark in marks:
        names = mark.args[0] if isinstance(mark.args[0], tuple) else (mark.args[0],)
        rows = [values if len(names) > 1 else (values,) for values in mark.args[1]]
        every = [{**known, **dict(zip(names, row, strict=True))} for known in every for row in rows]
    return every


def apply(file: str, line: str, wrong: str) -> None:
    """From now on that module is imported with one line changed."""
    name = "hotdesk." + file.replace("/", ".")
    path = ROOT / "src" / "hotdesk" / f"{file}.py"
    source = path.read_text()
    assert source.count(line) == 1, f"{source.count(line)} times in {path.name}: {line!r}"

    class Loader(importlib.abc.Loader):
        def exec_module(self, module: ModuleType) -> None:
            exec(compile(source.replace(line, wrong), str(path), "exec"), module.__dict__)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, wanted: str, path: object = None, target: object = None) -> object:
            return importlib.util.spec_from_loader(name, Loader()) if wanted == name else None

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=[m[0].replace(" ", "-") for m in MUTANTS])
def test_each_fault_is_noticed(number: int) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.test_mutants", str(number)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip(), f"nobody noticed: {MUTANTS[number][0]}"


if __name__ == "__main__":
    print(hunt(int(sys.argv[1])))
