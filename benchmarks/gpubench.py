"""Public tables of training speed, read from where they lie: ../shared/data/gpubench, never copied here."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hotdesk.core.errors import Unknown
from hotdesk.core.sizing.gpu import Gpu, Precision
from hotdesk.core.sizing.speed import Family
from hotdesk.market import gpus

_NEAR = [folder / "shared" / "data" / "gpubench" for folder in Path(__file__).resolve().parents[2:]]
FOLDER = next((folder for folder in _NEAR if folder.is_dir()), _NEAR[0])

FAMILY = {
    "ssd": Family.CNN,
    "maskrcnn": Family.CNN,
    "resnet50": Family.CNN,
    "bert_base_squad": Family.TRANSFORMER,
    "bert_large_squad": Family.TRANSFORMER,
    "gnmt": Family.TRANSFORMER,
    "transformerxlbase": Family.TRANSFORMER,
    "transformerxllarge": Family.TRANSFORMER,
    "tacotron2": Family.OTHER,
    "waveglow": Family.OTHER,
}


class Table(NamedTuple):
    """One job's rates over GPUs, from one source at one precision."""

    source: str
    job: str
    family: Family
    precision: Precision
    rates: list[tuple[Gpu, float]]


def lambda_tables(era: str, precision: Precision) -> list[Table]:
    """Lambda's tables of single GPUs: era "2022" or "2022-25". Their fp32 means TF32 where there is TF32."""
    suffix = "fp16" if precision is Precision.FP16 else "fp32"
    name = f"v0-2022-throughput-{suffix}.csv" if era == "2022" else f"v1v2-throughput-{suffix}.csv"
    rates: dict[str, dict[str, tuple[Gpu, float]]] = {job: {} for job in FAMILY}
    for row in _rows(FOLDER / "lambda" / name):
        if float(row["num_gpu"]) == 1 and "MAX-Q" not in row["name_gpu"].upper():
            _take(rates, row["name_gpu"], row)
    if era != "2022":
        for row in _rows(FOLDER / "lambda" / f"pytorch-train-throughput-v2-{suffix}.csv"):
            if row[""] == "LambdaBM_ENG04_1xH200_140GB_SXM_h200_v2":
                _take(rates, "H200", row)
    return [
        Table(f"Lambda {era} {precision}", job, FAMILY[job], precision, list(by.values()))
        for job, by in rates.items()
        if by
    ]


def cnn_tables(column: str = "total_ms") -> list[Table]:
    """cnn-benchmarks (2016-17, fp32, batch 16): each GPU's best cuDNN; `forward_ms` for the forward pass."""
    rates: dict[str, dict[str, tuple[Gpu, float]]] = {}
    for row in _rows(FOLDER / "cnn-benchmarks.csv"):
        if row["gpu"].startswith("CPU") or row["cudnn"] in ("", "None"):
            continue
        gpu, rate = gpus.find(row["gpu"]), 16000 / float(row[column])
        by = rates.setdefault(row["model"], {})
        if gpu.name not in by or by[gpu.name][1] < rate:
            by[gpu.name] = (gpu, rate)
    return [
        Table("cnn-benchmarks fp32", job, Family.CNN, Precision.FP32, list(by.values()))
        for job, by in rates.items()
    ]


def tables() -> list[Table]:
    return [
        *cnn_tables(),
        *lambda_tables("2022", Precision.FP16),
        *lambda_tables("2022", Precision.TF32),
        *lambda_tables("2022-25", Precision.FP16),
        *lambda_tables("2022-25", Precision.TF32),
    ]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def _take(rates: dict[str, dict[str, tuple[Gpu, float]]], name: str, row: dict[str, str]) -> None:
    try:
        gpu = gpus.find(name)
    except Unknown:
        return
    for job, by in rates.items():
        rate = float(row.get(job) or 0)
        if rate > 0:
            by.setdefault(gpu.name, (gpu, rate))
