"""The parameters of a sweep, as they are written, and the tasks that they make. Pure: a seed is a choice.

    lr=1e-4,3e-4,1e-3     each of these              seed=0..4         0, 1, 2, 3 and 4
    depth=2..10..4        2, 6 and 10                lr=log:1e-5..1e-1 drawn at random, evenly in log(lr)
    drop=uniform:0..0.5   drawn at random            width=int:16..512 drawn at random

Listed values are combined with each other (a grid). With random ones, each combination is drawn `samples`
times.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from hotdesk.core.errors import Usage
from hotdesk.core.model import Value

Scalar = str | int | float | bool
Params = dict[str, Scalar]

#: More tasks than this ask first: each leaves a folder and a log.
MANY = 100_000
#: Placeholders that every task has.
OWN = frozenset({"task", "line"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOLE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RANGE = re.compile(r"(?P<low>-?[\d.eE+-]+?)\.\.(?P<high>-?[\d.eE+-]+?)(?:\.\.(?P<step>-?[\d.eE+-]+))?")
_DRAWN = re.compile(r"(uniform|log|int):(.*)")
#: A shell line that means the same as its words: no shell is needed between.
_PLAIN = re.compile(r"[\w./:@%+,= -]+")


class Parameter(Value, frozen=True):
    """Listed values, or a distribution: `kind` uniform, log or int between `low` and `high`."""

    name: str
    values: tuple[Scalar, ...] = ()
    kind: str = ""
    low: float = 0.0
    high: float = 0.0

    def drawn(self, seed: int, number: int) -> Scalar:
        """The value of sample `number`: the same for the same seed, on every computer."""
        digest = sha256(f"{seed}/{self.name}/{number}".encode()).digest()
        share = int.from_bytes(digest[:7], "big") / (1 << 56)
        if self.kind == "log":
            low, high = math.log(self.low), math.log(self.high)
            return float(f"{math.exp(low + share * (high - low)):.6g}")
        if self.kind == "int":
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        return float(f"{self.low + share * (self.high - self.low):.6g}")


class Space(Value, frozen=True):
    """What the tasks of a sweep are made of."""

    parameters: tuple[Parameter, ...] = ()
    samples: int = 1  # how often each combination of listed values is drawn, where some are random
    seed: int = 0
    lines: tuple[str, ...] = ()  # one task for each, instead of, or combined with, parameters
    each: tuple[Params, ...] = ()  # the parameters of each task, instead of all that stands above

    @classmethod
    def of(cls, *, samples: int = 1, seed: int = 0, **given: object) -> Space:
        """Each parameter is a list, or a text as it is written above: of(lr=[0.1, 0.2], seed="0..4")."""
        parameters = tuple(read_table(name, value) for name, value in given.items())
        return cls(parameters=parameters, samples=samples, seed=seed)

    @property
    def size(self) -> int:
        if self.each:
            return len(self.each)
        listed = [len(p.values) for p in self.parameters if not p.kind]
        random = any(p.kind for p in self.parameters)
        return math.prod(listed) * (self.samples if random else 1) * (len(self.lines) or 1)

    @property
    def names(self) -> list[str]:
        """Of all parameters, each once or as often as it was given."""
        if self.each:
            return list(dict.fromkeys(name for params in self.each for name in params))
        return [p.name for p in self.parameters]

    def tasks(self) -> Iterator[Params]:
        """The parameters of each task, in order; the last listed one changes fastest."""
        if self.each:
            yield from self.each
            return
        listed = [p for p in self.parameters if not p.kind]
        drawn = [p for p in self.parameters if p.kind]
        number = 0
        for line in self.lines or ("",):
            for values in itertools.product(*(p.values for p in listed)):
                for _ in range(self.samples if drawn else 1):
                    found: Params = dict(zip((p.name for p in listed), values, strict=True))
                    found |= {p.name: p.drawn(self.seed, number) for p in drawn}
                    found = {p.name: found[p.name] for p in self.parameters}
                    yield found | ({"line": line} if self.lines else {})
                    number += 1


def read_parameter(text: str) -> Parameter:
    """A `--param`: NAME=VALUES. Raises `Usage`."""
    name, equals, said = text.partition("=")
    name, said = name.strip(), said.strip()
    if not equals or not said:
        raise Usage(
            f"--param {text!r} gives no values.",
            "It is NAME=VALUES: a list, a range, or a distribution.",
            "--param lr=1e-4,3e-4 --param seed=0..4",
        )
    return _parameter(name, _spec(name, said))


def read_table(name: str, value: object) -> Parameter:
    """A parameter of a file's [param]: a list, one value, or a string as in `--param`. Raises `Usage`."""
    if isinstance(value, list):
        if wrong := [v for v in value if not isinstance(v, Scalar)]:
            raise Usage(
                f"{name} has a value that is not text or a number: {wrong[0]!r}.",
                "Each value replaces a placeholder in the command.",
                f'{name} = [1, 2.5, "adam"]',
            )
        return _parameter(name, Parameter(name=name, values=tuple(value)))
    if isinstance(value, str):
        return _parameter(name, _spec(name, value))
    if isinstance(value, bool | int | float):
        return _parameter(name, Parameter(name=name, values=(value,)))
    raise Usage(f"{name} is neither a list nor a value.", f"It is {value!r}.", f"{name} = [1, 2]")


def _parameter(name: str, found: Parameter) -> Parameter:
    if not _NAME.fullmatch(name):
        raise Usage(
            f"{name!r} cannot be a parameter's name.",
            "A name has letters, digits and underscores, and begins with no digit.",
            "--param learning_rate=0.1,0.2",
        )
    if name in OWN:
        raise Usage(
            f"A parameter cannot be called {name}.",
            f"{{{name}}} stands for the task's own {'number' if name == 'task' else 'line'}.",
            f"--param {name}_=…",
        )
    if not found.kind and not found.values:
        raise Usage(f"{name} has no value.", "A grid of nothing has no task.", f"--param {name}=1,2,3")
    seen: set[tuple[type, Scalar]] = set()
    for value in found.values:
        if (type(value), value) in seen:
            raise Usage(
                f"{name} has the value {value} twice.",
                "The same task would run twice; to repeat one, give it a seed.",
                "--param seed=0..4",
            )
        seen.add((type(value), value))
    return found


def _spec(name: str, said: str) -> Parameter:
    if drawn := _DRAWN.fullmatch(said):
        return _distribution(name, drawn[1], drawn[2])
    if span := _RANGE.fullmatch(said):
        return Parameter(name=name, values=_span(name, said, span))
    parts = [part.strip() for part in said.split(",")]
    if "" in parts:
        raise Usage(
            f"{name} has an empty value.",
            f"In {said!r} a comma has nothing beside it.",
            f"--param {name}=1,2",
        )
    return Parameter(name=name, values=tuple(map(scalar, parts)))


def _span(name: str, said: str, span: re.Match[str]) -> tuple[Scalar, ...]:
    try:
        low, high, step = (_number(span[n]) if span[n] else 1 for n in ("low", "high", "step"))
    except ValueError:
        raise Usage(
            f"{name}={said} is no range.", "A range is LOW..HIGH or LOW..HIGH..STEP.", f"--param {name}=0..4"
        ) from None
    if not span["step"] and not (isinstance(low, int) and isinstance(high, int)):
        raise Usage(
            f"{name}={said} needs a step.",
            "Only between whole numbers it is 1.",
            f"--param {name}={said}..0.1",
        )
    if step <= 0 or high < low:
        raise Usage(
            f"{name}={said} is empty.",
            "A range goes upwards, and both of its ends belong to it.",
            f"--param {name}={span['high']}..{span['low']}"
            if high < low
            else f"--param {name}={low}..{high}..1",
        )
    count = int((high - low) / step + 1e-9) + 1
    if count > 10 * MANY:
        raise Usage(
            f"{name}={said} has {count:,} values.",
            "That is more than a sweep can hold.",
            f"--param {name}={low}..{high}..{(high - low) / 100:g}",
        )
    if all(isinstance(n, int) for n in (low, high, step)):
        return tuple(int(low) + n * int(step) for n in range(count))
    return tuple(float(f"{low + n * step:.12g}") for n in range(count))


def _distribution(name: str, kind: str, said: str) -> Parameter:
    span = _RANGE.fullmatch(said)
    fix = {"log": "log:1e-5..1e-1", "int": "int:16..512", "uniform": "uniform:0..0.5"}[kind]
    try:
        low, high = (_number(span[n]) for n in ("low", "high")) if span else (0, 0)
    except ValueError:
        low = high = 0
    whole = kind != "int" or (isinstance(low, int) and isinstance(high, int))
    if not span or span["step"] or high <= low or not whole or (kind == "log" and low <= 0):
        raise Usage(
            f"{name}={kind}:{said} is no distribution.",
            "It is drawn between two numbers, LOW..HIGH.",
            f"--param {name}={fix}",
        )
    return Parameter(name=name, kind=kind, low=float(low), high=float(high))


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text) from None
        return value


def scalar(text: str) -> Scalar:
    """A value as it is written: a number where it reads as one and would be written so again."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if isinstance(value, int) and str(value) != text:  # 007, +1 and 1_000 stay as they are
            return text
        return value if math.isfinite(value) else text
    return text


def shown(value: Scalar) -> str:
    """A value as it stands in a command: 0.0001 for 1e-4."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


# ---- commands ----------------------------------------------------------------------------------------


def holes(words: Sequence[str]) -> list[str]:
    """The placeholders of a command, each once."""
    return list(dict.fromkeys(h for word in words for m in _HOLE.finditer(word) if (h := m[1])))


def fill(words: Sequence[str], params: Mapping[str, Scalar], task: int) -> tuple[str, ...]:
    """The command of one task. In a shell line a value is one word; {{ and }} are braces."""
    own = {**params, "task": task}
    line = len(words) == 1

    def value(found: re.Match[str]) -> str:
        if not found[1]:
            return found[0][0]
        text = shown(own[found[1]])
        return shlex.quote(text) if line and found[1] != "line" else text

    filled = tuple(_HOLE.sub(value, word) for word in words)
    if (
        line
        and _PLAIN.fullmatch(filled[0])
        and len(plain := shlex.split(filled[0])) > 1
        and "=" not in plain[0]
    ):
        return tuple(plain)
    return filled


def check(space: Space, words: Sequence[str], tags: Sequence[str] = ()) -> None:
    """Raises `Usage` where parameters and placeholders do not fit each other. `tags`: parameters that no
    placeholder needs to use, because the command reads them from HOTDESK_PARAMS."""
    names = space.names
    for name in names:
        if names.count(name) > 1:
            raise Usage(
                f"The parameter {name} is given twice.",
                "Its values belong in one list.",
                f"--param {name}=1,2",
            )
    known = {*names, "task", *(["line"] if space.lines else [])}
    found = holes(words)
    for hole in found:
        if hole not in known:
            near = difflib.get_close_matches(hole, sorted(known), n=1)
            if hole == "line":
                why, fix = "{line} stands for a line of a file.", "--lines FILE"
            else:
                why = f"The parameters are: {', '.join(names)}." if names else "There is no parameter."
                fix = f"--param {hole}=…" + (
                    f"   # or did you mean {{{near[0]}}}?" if near else f"   # literally: {{{{{hole}}}}}"
                )
            raise Usage(f"Nothing fills {{{hole}}} in the command.", why, fix)
    for name in names:
        if name not in found and name not in tags:
            raise Usage(
                f"The parameter {name} is not used.",
                f"The command has no {{{name}}}, so its values would make equal tasks.",
                f"… --{name.replace('_', '-')} {{{name}}}   # or, if it reads HOTDESK_PARAMS: --tag {name}",
            )
    if space.samples != 1 and not any(p.kind for p in space.parameters):
        raise Usage(
            "--samples draws at random, and no parameter is random.",
            "Listed values are all tried, each once.",
            "--param lr=log:1e-5..1e-1",
        )
    if not space.size or not (names or space.lines):
        raise Usage(
            "The sweep has no task.",
            "It has neither parameters nor lines.",
            "--param seed=0..4   # or: --lines FILE",
        )
