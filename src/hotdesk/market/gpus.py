"""GPU specifications, as their makers print them, and look-up by any of their names.

Written 2026-11 from the sources in `SOURCES`. Three traps were kept out on purpose: rates doubled for
"sparsity", GeForce rates with half-precision sums (a training run keeps single-precision sums, which
halves them), and boards of two GPUs counted as one (K80, M60, K520).
"""

from __future__ import annotations

import difflib
import math
import re
from functools import cache

from hotdesk.core.errors import Unknown
from hotdesk.core.matching import InstanceType
from hotdesk.core.sizing.gpu import Gpu, read_name

AS_OF = "2026-11"

SOURCES = {
    "kepler": "NVIDIA Tesla K80 and GRID K520 board specifications (2013-2014)",
    "maxwell": "NVIDIA Tesla M40 and M60 briefs, GeForce GTX Titan X and Quadro M4000 pages (2015)",
    "pascal": "NVIDIA Tesla P100 and GTX 1080 whitepapers, P4/P40 and Quadro P datasheets (2016)",
    "volta": "NVIDIA Tesla V100 architecture whitepaper and V100S datasheet (2017-2019)",
    "turing": "NVIDIA Turing architecture whitepaper, T4 datasheet (2018)",
    "ampere": "NVIDIA A100 and GA102 whitepapers, A2/A10/A30/A40 and RTX A datasheets (2020-2022)",
    "a10g": "Amazon EC2 G5 announcement and published A10 comparisons (2021)",
    "ada": "NVIDIA Ada architecture whitepaper, L4/L20/L40/L40S and RTX Ada datasheets (2022-2023)",
    "hopper": "NVIDIA H100 architecture whitepaper, H200, H20 and GH200 datasheets (2022-2024)",
    "blackwell": "NVIDIA RTX Blackwell whitepaper, RTX PRO 6000 and HGX B200/B300 datasheets (2024-2025)",
    "amd": "AMD CDNA, CDNA 2 and CDNA 3 whitepapers and Instinct datasheets (2020-2023)",
}

#: name | form | memory GiB | GB/s | fp32 | tf32 | fp16 (dense, fp32 sums) | watts | year | other names | note
#: A note is a word of `_NOTES`. The first row of a name is what that name means when nothing tells more.
_ROWS = {
    ("Kepler", 3.0, "kepler"): """
        GRID K520                ||4   |160 |2.45|0|0|112|2013|K520          |half
    """,
    ("Kepler", 3.7, "kepler"): """
        K80                      ||12  |240 |2.8 |0|0|150|2014|              |base
        K40                      ||12  |288 |4.29|0|0|235|2013|              |
    """,
    ("Maxwell", 5.2, "maxwell"): """
        M60                      ||8   |160 |4.83|0|0|150|2015|              |half
        M40                      ||12  |288 |6.84|0|0|250|2015|              |
        Quadro M4000             ||8   |192 |2.57|0|0|120|2015|              |
        *Titan X Maxwell         ||12  |336 |6.69|0|0|250|2015|Maxwell Titan X, GTX Titan X|
        *GTX 980                 ||4   |224 |4.98|0|0|165|2014|              |
        *GTX 980 Ti              ||6   |336 |6.06|0|0|250|2015|              |
    """,
    ("Pascal", 6.1, "pascal"): """
        *GTX 1070                ||8   |256 |6.46|0|0|150|2016|              |
        *GTX 1080                ||8   |320 |8.87|0|0|180|2016|              |
        *GTX 1080 Ti             ||11  |484 |11.34|0|0|250|2017|             |
        *Titan X Pascal          ||12  |480 |10.97|0|0|250|2016|Pascal Titan X, Titan X|
        *Titan Xp                ||12  |548 |12.15|0|0|250|2017|             |
        P4                       ||8   |192 |5.5 |0|0|75 |2016|              |
        P40                      ||24  |347 |11.76|0|0|250|2016|             |
        Quadro P5000             ||16  |288 |8.87|0|0|180|2016|              |
        Quadro P6000             ||24  |432 |12.63|0|0|250|2016|             |
    """,
    ("Pascal", 6.0, "pascal"): """
        P100 PCIe                |pcie|16|732|9.3 |0|18.7|250|2016|P100     |p100
        P100 SXM2                |sxm|16|732 |10.6|0|21.2|300|2016|P100     |p100
        Quadro GP100             ||16  |717 |10.3|0|20.7|235|2016|GP100     |p100
    """,
    ("Volta", 7.0, "volta"): """
        V100 SXM2                |sxm|16,32|900|15.7|0|125|300|2017|V100    |
        V100 PCIe                |pcie|16,32|900|14|0|112|250|2017|V100     |
        V100S                    |pcie|32|1134|16.4|0|130|250|2019|         |
        Titan V                  ||12  |653 |14.9|0|110|250|2017|           |
        Quadro GV100             ||32  |870 |14.8|0|118.5|250|2018|GV100    |
    """,
    ("Turing", 7.5, "turing"): """
        T4                       ||16  |320 |8.1 |0|65  |70 |2018|          |cap70
        T4G                      ||16  |320 |8.1 |0|65  |70 |2021|          |
        *RTX 2060                ||6   |336 |6.45|0|25.8|160|2019|          |
        *RTX 2070                ||8   |448 |7.46|0|29.9|175|2018|          |
        *RTX 2070 SUPER          ||8   |448 |9.06|0|36.3|215|2019|          |
        *RTX 2080                ||8   |448 |10.07|0|40.3|215|2018|         |
        *RTX 2080 SUPER          ||8   |496 |11.15|0|44.6|250|2019|         |
        *RTX 2080 Ti             ||11  |616 |13.45|0|53.8|250|2018|         |
        Titan RTX                ||24  |672 |16.3|0|130.5|280|2018|         |
        Quadro RTX 4000          ||8   |416 |7.1 |0|57  |160|2018|RTX 4000 |
        Quadro RTX 5000          ||16  |448 |11.2|0|89.2|230|2018|RTX 5000 |
        Quadro RTX 6000          ||24  |672 |16.3|0|130.5|260|2018|RTX 6000|
        Quadro RTX 8000          ||48  |672 |16.3|0|130.5|260|2018|RTX 8000|
    """,
    ("Ampere", 8.0, "ampere"): """
        A100 SXM4 40GB           |sxm|40 |1555|19.5|156|312|400|2020|A100   |
        A100 PCIe 40GB           |pcie|40|1555|19.5|156|312|250|2020|A100   |
        A100 SXM4 80GB           |sxm|80 |2039|19.5|156|312|400|2020|A100   |
        A100 PCIe 80GB           |pcie|80|1935|19.5|156|312|300|2021|A100   |
        A800                     |sxm|80 |2039|19.5|156|312|400|2022|       |
        A30                      ||24  |933 |10.3|82 |165|165|2021|         |
    """,
    ("Ampere", 8.6, "ampere"): """
        A2                       ||16  |200 |4.5 |9   |18  |60 |2021|        |
        A10                      ||24  |600 |31.2|62.5|125 |150|2021|        |
        A16                      ||16  |200 |4.5 |9   |18  |62 |2021|        |quarter
        A40                      ||48  |696 |37.4|74.8|149.7|300|2020|RTX A40|
        RTX A2000                ||6,12|288 |8   |16  |31.9|70 |2021|A2000   |
        RTX A4000                ||16  |448 |19.2|38.3|76.7|140|2021|A4000   |
        RTX A4500                ||20  |640 |23.7|47.3|94.6|200|2021|A4500   |
        RTX A5000                ||24  |768 |27.8|55.6|111.1|230|2021|A5000  |
        RTX A5500                ||24  |768 |34.1|68.2|136.4|230|2022|A5500  |
        RTX A6000                ||48  |768 |38.7|77.4|154.8|300|2020|A6000  |
        *RTX 3060                ||12  |360 |12.7|12.7|25.5|170|2021|        |
        *RTX 3060 Ti             ||8   |448 |16.2|16.2|32.4|200|2020|        |
        *RTX 3070                ||8   |448 |20.3|20.3|40.6|220|2020|        |
        *RTX 3080                ||10  |760 |29.8|29.8|59.5|320|2020|        |
        *RTX 3080 Ti             ||12  |912 |34.1|34.1|68.2|350|2021|        |
        *RTX 3090                ||24  |936 |35.6|35.6|71.2|350|2020|        |
        *RTX 3090 Ti             ||24  |1008|40  |40  |80  |450|2022|        |
    """,
    ("Ampere", 8.6, "a10g"): """
        A10G                     ||24  |600 |35  |35  |70  |300|2021|        |a10g
    """,
    ("Ada", 8.9, "ada"): """
        L4                       ||24  |300 |30.3|60.5|121 |72 |2023|        |cap72
        L20                      ||48  |864 |59.8|59.8|119.5|275|2023|       |
        L40                      ||48  |864 |90.5|90.5|181 |300|2022|        |
        L40S                     ||48  |864 |91.6|183 |362 |350|2023|        |
        RTX 4000 Ada             ||20  |360 |26.7|53.4|106.9|130|2023|       |
        RTX 5000 Ada             ||32  |576 |65.3|130.6|261.1|250|2023|      |
        RTX 6000 Ada             ||48  |960 |91.1|182.1|364.2|300|2022|A6000 Ada|
        *RTX 4060 Ti             ||8,16|288 |22.1|22.1|44.1|160|2023|        |
        *RTX 4070                ||12  |504 |29.1|29.1|58.3|200|2023|        |
        *RTX 4070 Ti             ||12  |504 |40.1|40.1|80.2|285|2023|        |
        *RTX 4080                ||16  |717 |48.7|48.7|97.5|320|2022|        |
        *RTX 4080 SUPER          ||16  |736 |52.2|52.2|104.4|320|2024|       |
        *RTX 4090                ||24  |1008|82.6|82.6|165.2|450|2022|       |
    """,
    ("Hopper", 9.0, "hopper"): """
        H100 SXM5                |sxm|80 |3352|66.9|494.7|989.4|700|2022|H100|
        H100 PCIe                |pcie|80|2039|51.2|378  |756  |350|2022|H100|
        H100 NVL                 |nvl|94 |3938|60  |417.5|835  |400|2023|H100|
        H800                     |sxm|80 |3352|66.9|494.7|989.4|700|2023|    |
        H20                      |sxm|96 |4000|44  |74   |148  |400|2023|    |
        H200                     |sxm|141|4800|66.9|494.7|989.4|700|2024|    |
        H200 NVL                 |nvl|141|4800|60  |417.5|835.5|600|2024|H200|
        GH200                    |sxm|96 |4000|66.9|494.7|989.4|700|2023|    |
        GH200 144GB              |sxm|144|4900|66.9|494.7|989.4|700|2024|GH200|
    """,
    ("Blackwell", 12.0, "blackwell"): """
        *RTX 5070                ||12  |672 |30.9|30.9|61.7|250|2025|        |
        *RTX 5070 Ti             ||16  |896 |43.9|43.9|87.9|300|2025|        |
        *RTX 5080                ||16  |960 |56.3|56.3|112.6|360|2025|       |
        *RTX 5090                ||32  |1792|104.8|104.8|209.5|575|2025|     |
        RTX PRO 6000             ||96  |1597|120 |251.9|503.8|600|2025|RTX PRO Server 6000|pro
    """,
    ("Blackwell", 10.0, "blackwell"): """
        B200                     |sxm|180|7700|75  |1125 |2250 |1000|2025|   |b200
        B300                     |sxm|270|7700|75  |1125 |2250 |1100|2025|   |
        GB200                    |sxm|186|8000|80  |1250 |2500 |1200|2025|   |
    """,
    ("CDNA", 0.0, "amd"): """
        MI100                    ||32  |1229|46.1|0|184.6|300|2020|          |matrix
    """,
    ("CDNA 2", 0.0, "amd"): """
        MI210                    ||64  |1638|45.3|0|181  |300|2022|          |matrix
        MI250                    ||64  |1638|45.3|0|181  |280|2021|          |matrix2
    """,
    ("CDNA 3", 0.0, "amd"): """
        MI300X                   ||192 |5300|163.4|653.7|1307.4|750|2023|    |
    """,
}  # fmt: skip

_NOTES = {
    "half": "one of the board's two GPUs",
    "base": "one of the board's two GPUs, at its base clock, which it keeps under load (boost prints 4.37)",
    "quarter": "one of the board's four GPUs",
    "p100": "fp16 is twice the fp32 rate, without tensor cores",
    "cap70": "held to 70 W: sustained speed lies well below the printed rate",
    "cap72": "held to 72 W: sustained speed lies well below the printed rate",
    "a10g": "half the tensor rate of the A10",
    "pro": "server edition; tensor rates derived from the printed sparse FP4 rate",
    "b200": "180 to 192 GB, by how it is counted",
    "matrix": "fp32 by matrix units",
    "matrix2": "one of the board's two GPUs; fp32 by matrix units",
}


@cache
def table() -> tuple[Gpu, ...]:
    """All GPUs with facts, oldest architecture first."""
    gpus = []
    for (architecture, capability, source), rows in _ROWS.items():
        for row in filter(str.strip, rows.splitlines()):
            name, form, memory, bandwidth, fp32, tf32, fp16, watts, year, aliases, note = (
                cell.strip() for cell in row.split("|")
            )
            geforce, name = name.startswith("*"), name.lstrip("*")
            for size in memory.split(","):
                gpus.append(
                    Gpu(
                        name=f"{name} {size}GB" if "," in memory else name,
                        architecture=architecture,
                        capability=capability,
                        year=int(year),
                        memory_gib=float(size),
                        gb_per_second=float(bandwidth),
                        watts=float(watts),
                        fp32=float(fp32),
                        tf32=float(tf32),
                        fp16=float(fp16),
                        aliases=tuple(filter(None, (alias.strip() for alias in aliases.split(",")))),
                        form=form,
                        geforce=geforce,
                        source=SOURCES[source],
                        note=_NOTES.get(note, ""),
                    )
                )
    return tuple(gpus)


@cache
def _index() -> dict[str, list[Gpu]]:
    """Bare names to the GPUs that go by them, the usual first; consumer names also without prefix."""
    index: dict[str, list[Gpu]] = {}
    for gpu in table():
        for name in (gpu.name, *gpu.aliases):
            bare = read_name(name).bare
            for key in {bare, re.sub(r"^(quadro|grid)", "", bare)}:
                if gpu not in index.setdefault(key, []):
                    index[key].append(gpu)
    for key in list(index):
        short = re.sub(r"^(rtx|gtx)(?=\d{4})", "", key)
        if short != key and short not in ("4000", "5000", "6000", "8000"):
            index.setdefault(short, index[key])
    return index


def find(name: str, memory_gib: float = 0.0) -> Gpu:
    """The GPU of that name, however it is written: "A100", "NVIDIA A100-SXM4-80GB", "3090", "Tesla T4".

    `memory_gib` tells apart those that share a name, where a price list knows it. Raises `Unknown` with
    the nearest known names; a GPU without facts has no prediction, only measurements.
    """
    bare, form, memory = read_name(name)
    same = _index().get(bare)
    if not same:
        names = list({gpu.name.lower(): gpu.name for gpu in table()}.items())
        near = difflib.get_close_matches(name.lower(), [low for low, _ in names], n=3, cutoff=0.5)
        shown = [dict(names)[low] for low in near]
        raise Unknown(
            f"There are no facts about a GPU called {name[:60]!r}."
            + (f" Did you mean {shown[0]!r}?" if shown else ""),
            "A speed can be predicted only from a GPU's printed rates and memory bandwidth"
            + (f"; the nearest known are {', '.join(shown)}." if shown else "."),
            "hotdesk bench --workload all   # at that machine: a measurement needs no facts",
        )
    size = memory or memory_gib
    fitting = [gpu for gpu in same if not form or gpu.form == form] or same
    if size:
        fitting = sorted(fitting, key=lambda gpu: abs(gpu.memory_gib - size))
    return fitting[0]


def note(asked: str, found: Gpu) -> str:
    """What was assumed when a name means several GPUs; "" when it was plain."""
    bare, form, memory = read_name(asked)
    others = [g.name for g in _index().get(bare, []) if g is not found]
    if not others or memory or form:
        return ""
    return f"{asked} was taken as {found.name} (also sold: {', '.join(others)})"


def relative_speed(kind: InstanceType) -> float:
    """How much work a type does in the time one T4 does 1; 0.0 where it has no GPU or nobody knows.

    A rough guide, for sorting offers; for a job's own figures: `hotdesk plan`. Per GPU the square root of
    dense fp16 TFLOPS times memory bandwidth (data sheets). Over published training benchmarks such a ratio is
    off by 6 to 22 % in the median, by 61 % at worst (p90).
    """
    if not kind.gpu:
        return 0.0
    return _worth(kind.gpu, kind.gpu_memory_gib) / _worth("T4", 16.0) * kind.gpu_count


@cache
def _worth(name: str, memory_gib: float) -> float:
    try:
        gpu = find(name, memory_gib)
    except Unknown:
        return 0.0
    return math.sqrt(max(gpu.fp16, gpu.tf32, gpu.fp32) * gpu.gb_per_second)
