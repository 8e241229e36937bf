"""What is printed about a GPU: the few numbers that a prediction of its speed may lean on."""

from __future__ import annotations

import re
from enum import StrEnum

from hotdesk.core.errors import NotAllowed
from hotdesk.core.model import Value


class Precision(StrEnum):
    """How the multiplications of a training step are done."""

    FP16 = "fp16"  # mixed precision: half-precision products, single-precision sums
    BF16 = "bf16"
    TF32 = "tf32"
    FP32 = "fp32"  # strict: TF32 switched off


#: Oldest compute capability that multiplies in that precision at all (NVIDIA).
_SINCE = {Precision.FP16: 6.0, Precision.BF16: 8.0, Precision.TF32: 8.0, Precision.FP32: 0.0}


#: What EC2 calls a GPU, where people (and its maker) say it otherwise.
_SAID = {"RTX PRO Server 6000": "RTX PRO 6000", "RTX PRO Server 4500": "RTX PRO 4500"}


def gpu_name(name: str) -> str:
    """A GPU's name as people say it, from a cloud's own."""
    return _SAID.get(name.strip(), name.strip())


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
        """Whether its arithmetic has that precision at all."""
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
