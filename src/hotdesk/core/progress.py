"""How far a job is, by the last line that it has written. Pure."""

from __future__ import annotations

import re

#: A bar of tqdm, rich, wget, pip: a share before or after a bar, or alone in brackets.
_INK = "━╸╺█▏▎▍▌▋▊▉#=>"
_SHARE = r"(\d{1,3}(?:\.\d+)?) ?%"
_BAR = re.compile(rf"{_SHARE}\s*(?:\||\[?[{_INK}\-]{{3,}})|[{_INK}]{{3,}}[^%\d]{{0,20}}{_SHARE}")
#: "Epoch 3/10", "step 450 of 1000", "[ 450/1000]", "iter: 1,200 / 4,000".
_COUNT = re.compile(
    r"(?:\b(epochs?|steps?|iter(?:ation)?s?|it|batch(?:es)?|fold|round|trial|task|sample|file|chunk)\b[\s:=#\[(]*)"
    r"(\d[\d,_]*)\s*(?:/|of)\s*(\d[\d,_]*)",
    re.IGNORECASE,
)
_COARSE = {"epoch", "epochs", "fold", "round"}  # they hold a finer count, which is how far this one is


def progress(line: str) -> float | None:
    """The share that is done, 0 to 1; None where the line does not say it.

    Of several counts ("Epoch 3/10: 45%|████") the coarse one counts the whole, and the finer one how far its
    current part is.
    """
    bars = [float(one or other) / 100 for one, other in _BAR.findall(line)]
    counts = [(kind.lower(), _number(done), _number(of)) for kind, done, of in _COUNT.findall(line)]
    counts = [(kind, done, of) for kind, done, of in counts if of > 0 and done <= of]
    fine = [done / of for kind, done, of in counts if kind not in _COARSE]
    within = next((share for share in (*bars, *fine) if share <= 1), None)
    coarse = next(((done, of) for kind, done, of in counts if kind in _COARSE), None)
    if coarse is None:
        return within
    done, of = coarse
    if within is None:
        return done / of
    return min(1.0, (max(0, done - 1) + within) / of)  # the third of ten is not done yet


def _number(text: str) -> int:
    return int(text.replace(",", "").replace("_", ""))
