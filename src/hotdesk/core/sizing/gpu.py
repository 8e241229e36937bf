"""GPU specifications: the numbers that speed predictions use."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from hotdesk.core.errors import NotAllowed
from hotdesk.core.model import Value


class Precision(StrEnum):
    """Numeric precision of training."""

    FP16 = "fp16"  # mixed precision: half-precision products, single-precision sums
    BF16 = "bf16"
    TF32 = "tf32"
    FP32 = "fp32"  # strict: TF32 switched off


#: Oldest compute capability that supports the precision (NVIDIA).
_SINCE = {Precision.FP16: 6.0, Precision.BF16: 8.0, Precision.TF32: 8.0, Precision.FP32: 0.0}


#: What EC2 calls a GPU, where people (and its maker) say it otherwise.
_SAID = {"RTX PRO Server 6000": "RTX PRO 6000", "RTX PRO Server 4500": "RTX PRO 4500"}


def gpu_name(name: str) -> str:
    """A GPU's name as people say it, from a cloud's own."""
    return _SAID.get(name.strip(), name.strip())


_NOISE = re.compile(
    r"nvidia|tesla|geforce|\bamd\b|\bapple\b|instinct|lambda\s*cloud|\bgpu\b|\bcorporation\b|\b\d+x\b|hbm\d?e?|"
    r"tensor core|generation|graphics|blackwell|\bserver( edition)?\b|\bse\b",
)
_MEMORY = re.compile(r"\b(\d{1,3})\s*(?:gb|gib|g)\b")
_FORM = re.compile(r"\b(pcie|pci-e|sxm)\d?\b|\b(nvl)\b|\b(?:gen\s*\d)\b")


class GpuName(NamedTuple):
    """A GPU's name, taken apart: all that go by the same `bare` name are of one model."""

    bare: str  # "a100", "rtx3090"
    form: str  # pcie, sxm, nvl; "" where it does not say
    memory_gib: int  # 0 where it does not say

    @property
    def model(self) -> str:
        """The bare name without its line, which people leave out: "3090", "k520"."""
        return re.sub(r"^(?:rtx|gtx|quadro|grid)+(?=.)", "", self.bare)


@cache
def read_name(name: str) -> GpuName:
    """A name as a cloud, a driver or a person writes it: "NVIDIA A100-SXM4-80GB", "tesla-t4", "a100_80gb"."""
    text = _NOISE.sub(" ", name.lower().replace("_", " "))
    text = re.sub(r"-(?=pcie|sxm|nvl|\d+\s*gi?b)", " ", text)
    memory = int(found[1]) if (found := _MEMORY.search(text)) else 0
    form = next((m[1] or m[2] for m in _FORM.finditer(text) if m[1] or m[2]), "").replace("-", "")
    bare = _FORM.sub(" ", _MEMORY.sub(" ", text))
    if "hbm3" in name.lower() and not form:
        form = "sxm"  # "NVIDIA H100 80GB HBM3" is how the driver names the SXM part
    return GpuName(re.sub(r"[^a-z0-9]", "", bare), form, memory)


@cache
def is_same_model(asked: str, there: str) -> bool:
    """Whether two names, however they are written, mean one GPU, whatever its memory."""
    one, other = read_name(asked), read_name(there)
    same_form = not one.form or not other.form or one.form == other.form
    return bool(one.model) and one.model == other.model and same_form


def a_gpu(name: str) -> str:
    """The name behind its article, as it is spoken: "an A10G", "a T4", "an RTX 3090", "a Quadro"."""
    name = gpu_name(name)
    word = re.split(r"[ -]", name, maxsplit=1)[0]
    spelt = re.search(r"[a-z]{2}", word) is None  # letter by letter: A10G, RTX; not Titan
    return f"{'an' if name[:1].upper() in ('AEFHILMNORSX' if spelt else 'AEIO') else 'a'} {name}"


class Gpu(Value, frozen=True):
    """One GPU as its maker prints it. Rates are dense TFLOP/s (never the doubled "sparse" ones), with
    single-precision sums; 0 means that the GPU has no such unit. A board with two GPUs counts one."""

    name: str
    architecture: str
    capability: float  # NVIDIA's compute capability; 0 for other makers
    year: int
    memory_gib: float
    gb_per_second: float
    watts: float
    fp32: float
    tf32: float = 0.0
    fp16: float = 0.0  # bf16 runs at the same rate wherever it runs
    aliases: tuple[str, ...] = ()
    form: str = ""  # pcie, sxm, nvl: tells apart what shares a name
    geforce: bool = False  # sold for games: tensor cores that keep single-precision sums run at half rate
    source: str = ""
    note: str = ""

    def runs(self, precision: Precision) -> bool:
        """Whether it supports that precision."""
        if not self.capability:
            return precision is not Precision.TF32 or self.tf32 > 0
        return self.capability >= _SINCE[precision]

    def tflops(self, precision: Precision) -> float:
        """Dense TFLOP/s at that precision.

        A GPU that stores halves but multiplies no faster with them (Pascal without its 6.0 part) counts
        at its fp32 rate, which is what libraries use there. Raises `NotAllowed` where it cannot run at all.
        """
        if not self.runs(precision):
            raise NotAllowed(
                f"{self.name} cannot run {precision}.",
                f"{self.architecture} (year {self.year}) has no {precision} arithmetic"
                + ("; frameworks quietly use fp32 there." if precision is Precision.TF32 else "."),
                f"use --precision {'fp16' if precision is Precision.BF16 and self.fp16 else 'fp32'}",
            )
        match precision:
            case Precision.FP32:
                return self.fp32
            case Precision.TF32:
                return self.tf32 or self.fp32
            case _:
                return self.fp16 or self.fp32
