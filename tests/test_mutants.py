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
        "test_histories.test_an_image_from_before_the_last_start_is_not_the_save",
    ),
    (
        "trust an image from before the interrupted machine's last start",
        PLAN,
        "image.source_id == source.instance_id and image.taken_at > source.started_at",
        "image.source_id == source.instance_id",
        "test_histories.test_the_disk_of_a_machine_that_was_woken_holds_more_than_its_image",
    ),
    (
        "image generation ignored: any image supersedes a disk",
        PLAN,
        "newest is not None and (newest.generation > disk.generation or _is_of(newest, disk))",
        "newest is not None",
        "test_histories.test_the_disk_of_a_machine_that_was_woken_holds_more_than_its_image",
    ),
    (
        "a disk is superseded by an image of its own generation",
        PLAN,
        "newest.generation > disk.generation or",
        "newest.generation >= disk.generation or",
        "test_histories.test_the_disk_of_a_machine_that_was_woken_holds_more_than_its_image",
    ),
    ("delete before verified", PLAN, "return [*_finish(unfinished[0], seen), gone]", "return [gone]", "days"),
    (
        "an image that is being deleted counts as the save",
        PLAN,
        "return image.phase not in {Phase.FAILED, Phase.ENDING} and not rotten",
        "return image.phase is not Phase.FAILED and not rotten",
        "test_histories.test_one_bad_image_is_no_question",
    ),
    (
        "treat FAILED as READY",
        PLAN,
        "return image.phase not in {Phase.FAILED, Phase.ENDING} and not rotten",
        "return image.phase is not Phase.ENDING and not rotten",
        "test_histories.test_one_bad_image_is_no_question",
    ),
    (
        "a rotten image is read back again and again",
        PLAN,
        "and not rotten",
        "",
        "test_histories.test_one_bad_image_is_no_question",
    ),
    ("delete instead of release", PLAN, "        keep_disk=True,\n", "        keep_disk=False,\n", "crash"),
    (
        "new name after an unknown outcome",
        PLAN,
        "if prior.unsure and as_wanted:",
        "if False:",
        "test_histories.test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it",
    ),
    (
        "an old order repeated with an image that is no longer the newest",
        PLAN,
        'prior_order.image_id in ({i.id for i in same} or {""})',
        "True",
        "test_histories.test_an_order_that_nobody_answered_is_not_repeated_after_others_went_on",
    ),
    (
        "a new name from the clock",
        STEPS,
        "(self.desk, self.born, self.generation, self.attempt, place.key,",
        '(__import__("time").perf_counter_ns(), self.generation, self.attempt, place.key,',
        "test_histories.test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it",
    ),
    (
        "one token for two orders",
        STEPS,
        "self.generation, self.attempt, place.key,",
        "self.attempt, place.key,",
        "test_histories.test_a_machine_that_ended_before_anybody_logged_in_is_replaced",
    ),
    (
        "a new desk uses the tokens of an old one",
        STEPS,
        "(self.desk, self.born, self.generation, self.attempt, place.key,",
        "(self.desk, self.generation, self.attempt, place.key,",
        "test_histories.test_a_name_that_is_used_again_is_a_new_desk",
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
        "test_histories.test_an_interruption_at_every_boundary",
    ),
    ("ignore unread regions", PLAN, "if seen.unread:", "if False:", "days"),
    (
        "twins: delete either",
        PLAN,
        "if past.made(twin) and twin.id not in past.proven:",
        "if True:",
        "test_histories.test_two_machines_that_may_both_hold_work_are_left_alone",
    ),
    (
        "twins: delete neither",
        PLAN,
        "if past.made(twin) and twin.id not in past.proven:",
        "if False:",
        "test_histories.test_a_late_twin_that_nobody_was_told_of_goes_by_itself",
    ),
    (
        "missing work is not asked about",
        PLAN,
        "    if question := _missing_work(desk, seen, past):",
        "    if question := None:",
        "test_histories.test_work_that_somebody_deleted_is_a_question_and_fresh_is_its_answer",
    ),
    (
        "fresh for ever",
        PLAN,
        "not (desk.fresh and proof.at < desk.since)",
        "not desk.fresh",
        "test_histories.test_work_that_somebody_deleted_is_a_question_and_fresh_is_its_answer",
    ),
    (
        "launch elsewhere from the image that is here",
        PLAN,
        "image = next((i for i in same if i.region == offer.region), newest)",
        "image = newest",
        "test_histories.test_calls_that_take_longer_than_the_listing_lags",
    ),
    (
        "a copy is paid for ever",
        PLAN,
        "held = image.age <= newest.age or",
        "held = image.age < newest.age or",
        "test_histories.test_a_change_of_mind_at_every_boundary",
    ),
    (
        "a generation is used twice",
        PLAN,
        "generation = max([desk.generation, *(thing.generation + 1 for thing in seen_so_far)])",
        "generation = desk.generation",
        "test_histories.test_the_first_look_of_a_second_computer_waits_for_what_was_just_saved",
    ),
    (
        "a refused offer is asked again at once",
        PLAN,
        "next((o for o in desk.offers if not past.refusal(o.key, now)), None)",
        "next(iter(desk.offers), None)",
        "test_histories.test_sold_out_everywhere_is_a_question_that_names_every_place",
    ),
    ("a refusal is believed for ever", PLAN, "    if left <= 0:", "    if False:", "days"),
    (
        "an old refusal blocks a new command",
        PLAN,
        "or row.outcome is None or row.at < desk.since:",
        "or row.outcome is None:",
        "test_histories.test_a_refusal_at_every_call_ends_well_or_in_a_question",
    ),
    (
        "images are taken without end",
        PLAN,
        "            tried += past.begun(bake.key, desk.since)",
        "            tried += 0",
        "test_histories.test_images_that_fail_again_and_again_are_a_question_and_nothing_is_lost",
    ),
    (
        "copies are made without end",
        PLAN,
        "if past.begun(copy.key, desk.since) >= TRIES:",
        "if False:",
        "test_histories.test_a_copy_that_fails_again_and_again_is_a_question",
    ),
    (
        "started without end",
        PLAN,
        'if past.begun(f"start:{live.id}", max(desk.since, proven_at)) >= TRIES:',
        "if past.begun(step.key, desk.since) >= TRIES:",
        "test_histories.test_a_machine_that_stops_after_every_start_is_a_question",
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
        "if past.launch is None and seen.ids and 0 <=",
        "if False and 0 <=",
        "test_histories.test_the_first_look_of_a_second_computer_waits_for_what_was_just_saved",
    ),
    (
        "trust one look",
        PAST,
        "if row.refused or now - ended >= seen.lag_seconds:",
        "if row.refused or now - ended >= seen.lag_seconds or _shows(row, seen):",
        "test_histories.test_parked_again_right_after_it_was_woken days",
    ),
    ("the lag is ignored", PAST, "        return lagging\n", "        return None\n", "days crash"),
    (
        "the lag is counted from the beginning of a call",
        PAST,
        "ended = row.at if row.ended_at is None else row.ended_at",
        "ended = row.at",
        "test_histories.test_calls_that_take_longer_than_the_listing_lags",
    ),
    (
        "a start is believed at once",
        PAST,
        "(i.phase is not Phase.STOPPED or i.started_at != before)",
        "True",
        "test_histories.test_parked_again_right_after_it_was_woken",
    ),
    (
        "a stop is believed at once",
        PAST,
        "(i.phase not in {Phase.READY, Phase.PENDING} or i.started_at != before)",
        "True",
        "test_plans.test_plan",
    ),
    (
        "a deletion is believed at once",
        PAST,
        "            return gone and id_ not in",
        "            return gone or id_ not in",
        "test_plans.test_plan",
    ),
    (
        "an older image of the generation holds the last work",
        PAST,
        "(image.generation == generation and image.taken_at > started_at)",
        "image.generation == generation",
        "test_histories.test_an_image_from_before_the_work_is_not_taken_for_it",
    ),
    (
        "the journal is written after the act",
        LOOP,
        """        begun = self.store.begin([(desk.name, step) for desk, step in acts], at)
        ended = []
        for row, (desk, step) in zip(begun, acts, strict=True):
            self.on_row(row)
            ended.append(self.store.end(row, self._attempt(desk, step), self.clock.now()))
""",
        """        outcomes = [self._attempt(desk, step) for desk, step in acts]
        begun = self.store.begin([(desk.name, step) for desk, step in acts], at)
        ended = []
        for row, outcome in zip(begun, outcomes, strict=True):
            self.on_row(row)
            ended.append(self.store.end(row, outcome, self.clock.now()))
""",
        "test_histories.test_killed_while_launching_and_then_something_else_is_wanted",
    ),
    (
        "the lag is counted from after the look",
        LOOP,
        "        by_desk = {name: survey.by_desk()",
        """        now = self.clock.now()
        by_desk = {name: survey.by_desk()""",
        "test_histories.test_calls_that_take_longer_than_the_listing_lags",
    ),
    (
        "a step that was cut off is dated by its beginning",
        PAST,
        "return [r for r in self._recent.values() if r.ended_at is None or r.ended_at > now]",
        "return []",
        "test_histories.test_killed_while_launching_and_then_something_else_is_wanted",
    ),
    (
        "gone is said at the first empty look",
        LOOP,
        """        case [] if desk.goal is Goal.GONE:
            return True
""",
        """        case [] if desk.goal is Goal.GONE:
            return False
""",
        "test_histories.test_an_interrupted_machine_whose_disk_is_listed_late",
    ),
    (
        "parked is said while a disk may come late",
        LOOP,
        "            return past.launch.step.order.generation >",
        "            return False and past.launch.step.order.generation >",
        "test_histories.test_an_interrupted_machine_whose_disk_is_listed_late",
    ),
    (
        "lost work is said at the first look",
        LOOP,
        "            return unsure\n",
        "            return False\n",
        "test_histories.test_an_interrupted_machine_whose_disk_is_listed_late",
    ),
    (
        "an unknown outcome is taken for a no",
        LOOP,
        'return Outcome(status="unknown", message=f"{type',
        'return Outcome(status="refused", message=f"{type',
        "test_histories.test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it",
    ),
    (
        "an unknown outcome is taken for a yes",
        LOOP,
        'return Outcome(status="unknown", message=f"{type',
        'return Outcome(status="done", message=f"{type',
        "test_histories.test_a_request_that_is_stuck_on_its_way_takes_effect_when_nobody_expects_it",
    ),
    (
        "a clock set back hides what is written",
        LOOP,
        "at = max([now, *(max(desk.since, desk.created_at) for desk, _ in acts)])",
        "at = now",
        "test_histories.test_a_clock_set_back_or_ahead_at_every_act",
    ),
    (
        "a new desk remembers the old one of its name",
        STORE,
        'query = _ROW + "WHERE desk = ? AND at >= ? AND',
        'query = _ROW + "WHERE desk = ? AND ? > 0 AND',
        "test_histories.test_a_name_that_is_used_again_is_a_new_desk",
    ),
    (
        "an end is not told to other processes",
        STORE,
        """"UPDATE journal SET ended_at = ?, outcome = ?, change = ? WHERE id = ?",
                (now, _encode(outcome), change, row.id),""",
        """"UPDATE journal SET ended_at = ?, outcome = ? WHERE id = ?",
                (now, _encode(outcome), row.id),""",
        "test_store.test_what_another_process_writes_is_seen",
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
        module, _, name = story.partition(".")
        test = getattr(importlib.import_module(f"tests.{module}"), name)
        for arguments in _combinations(getattr(test, "pytestmark", [])):
            test(**arguments)


def _combinations(marks: list[pytest.Mark]) -> list[dict[str, object]]:
    every: list[dict[str, object]] = [{}]
    for mark in marks:
        if mark.name != "parametrize":
            continue
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
