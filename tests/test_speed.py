"""Predicted speed: what it promises for any rates, what it refuses, and that its bands hold."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as some

from benchmarks import gpubench
from hotdesk.core.errors import NotAllowed, Unknown, Usage
from hotdesk.core.sizing.gpu import Gpu, Precision
from hotdesk.core.sizing.speed import Evidence, Family, check_memory, predict, predictor, utilisation
from hotdesk.market import gpus

NAMES = sorted({gpu.name for gpu in gpus.table()})
FP16 = Precision.FP16
rates = some.floats(1e-3, 1e7)
names = some.sampled_from([gpu.name for gpu in gpus.table() if gpu.runs(FP16)])


def test_the_facts_keep_out_the_known_traps() -> None:
    assert len(NAMES) == len(gpus.table()), "each name stands once"
    for gpu in gpus.table():
        assert min(gpu.fp32, gpu.gb_per_second, gpu.memory_gib, gpu.watts) > 0
        assert gpu.source
        assert 2010 < gpu.year < 2027
        assert gpu.fp16 == 0 or gpu.fp16 >= gpu.fp32 * 0.99
        assert gpu.tf32 == 0 or gpu.runs(Precision.TF32)
    assert gpus.find("H100").fp16 < 1000, "the doubled rate for sparse matrices is 1979"
    assert gpus.find("4090").fp16 == pytest.approx(2 * gpus.find("4090").fp32, rel=0.01), (
        "single-precision sums"
    )
    assert gpus.find("A10G").fp16 < 0.6 * gpus.find("A10").fp16


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("A100", "A100 SXM4 40GB"),
        ("A100-80GB", "A100 SXM4 80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("a100 pcie 40gb", "A100 PCIe 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5"),
        ("H100 80GB PCIe Gen5", "H100 PCIe"),
        ("Tesla V100-PCIE-32GB", "V100 PCIe 32GB"),
        ("V100", "V100 SXM2 16GB"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("3090Ti", "RTX 3090 Ti"),
        ("RTX 6000", "Quadro RTX 6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("rtx a6000", "RTX A6000"),
        ("Tesla K80", "K80"),
        ("T4", "T4"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"),
    ],
)
def test_a_gpu_is_found_by_any_of_its_names(written: str, name: str) -> None:
    assert gpus.find(written).name == name


def test_every_gpu_is_found_by_its_own_name() -> None:
    for gpu in gpus.table():
        assert gpus.find(gpu.name) == gpu


def test_memory_tells_apart_what_shares_a_name() -> None:
    assert gpus.find("A100", memory_gib=80).name == "A100 SXM4 80GB"
    assert gpus.find("V100", memory_gib=32).memory_gib == 32
    assert "A100 PCIe 40GB" in gpus.note("A100", gpus.find("A100"))
    assert gpus.note("T4", gpus.find("T4")) == ""


def test_an_unknown_gpu_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(Unknown, match="RTX 3090"):
        gpus.find("RTX 3091")
    with pytest.raises(Unknown) as refused:
        gpus.find("Radeon VII")
    assert "bench" in refused.value.fix


@given(some.dictionaries(names, rates, min_size=1, max_size=6), names, some.floats(1e-2, 1e2))
def test_the_unit_of_the_rate_does_not_matter(known: dict[str, float], to: str, factor: float) -> None:
    measured = [(gpus.find(name), rate) for name, rate in known.items()]
    one = predict(measured, gpus.find(to), Family.CNN, FP16)
    other = predict([(g, r * factor) for g, r in measured], gpus.find(to), Family.CNN, FP16)
    assert other.rate == pytest.approx(one.rate * factor, rel=1e-6)
    assert other.high / other.low == pytest.approx(one.high / one.low, rel=1e-6)
    assert 0 < one.low < one.rate < one.high < math.inf


@given(some.lists(some.tuples(names, rates), min_size=2, max_size=6), names, some.randoms())
def test_the_order_of_measurements_does_not_matter(
    known: list[tuple[str, float]], to: str, dice: object
) -> None:
    measured = [(gpus.find(name), rate) for name, rate in known]
    one = predict(measured, gpus.find(to), Family.TRANSFORMER, FP16)
    other = predict(measured[::-1], gpus.find(to), Family.TRANSFORMER, FP16)
    assert other.rate == pytest.approx(one.rate, rel=1e-6)


def formula(gpu: Gpu, shares: tuple[float, float, float]) -> float:
    return 1 / (shares[0] * 200 / gpu.tflops(FP16) + shares[1] * 900 / gpu.gb_per_second + shares[2])


@pytest.mark.parametrize("shares", [(0.2, 0.7, 0.1), (0.6, 0.3, 0.1), (0.3, 0.3, 0.4)])
def test_a_world_that_obeys_the_formula_is_learnt(shares: tuple[float, float, float]) -> None:
    """The self-made twin of the public tables: rates by the formula, one GPU left out at a time."""
    world = [
        gpus.find(n) for n in ("V100", "T4", "A10", "A100", "RTX A6000", "L40S", "H100", "RTX 3090", "H200")
    ]
    known = [(gpu, 500 * formula(gpu, shares)) for gpu in world]
    errors = []
    for left, (gpu, actual) in enumerate(known):
        got = predict([k for n, k in enumerate(known) if n != left], gpu, Family.CNN, FP16)
        assert got.low <= actual <= got.high
        errors.append(abs(got.rate / actual - 1))
    assert statistics.median(errors) < 0.06


def test_what_kin_miss_is_carried_over() -> None:
    """Two Ampere workstation cards run half as fast as the formula says: so will the third."""
    shares = (0.3, 0.6, 0.1)
    slow = {"RTX A5000": 0.5, "RTX A6000": 0.5}
    known = [
        (gpus.find(n), formula(gpus.find(n), shares) * slow.get(n, 1.0))
        for n in ("V100", "T4", "H100", "H200", "L40S", *slow)
    ]
    to = gpus.find("RTX A5500")
    got = predict(known, to, Family.CNN, FP16)
    assert got.rate < 0.75 * formula(to, shares)


def test_the_band_narrows_with_kin_and_widens_with_distance() -> None:
    a100, h100, h200 = (gpus.find(n) for n in ("A100", "H100", "H200"))
    far = predict([(a100, 1400.0)], h200, Family.CNN, FP16)
    near = predict([(a100, 1400.0), (h100, 2700.0)], h200, Family.CNN, FP16)
    assert near.high / near.low < far.high / far.low
    assert "none of them Hopper" in far.why
    assert "1 of them Hopper" in near.why


def test_measured_beats_ratio_beats_specification() -> None:
    v100, a100, h100 = (gpus.find(n) for n in ("V100", "A100", "H100"))
    bench = [(v100, 100.0), (a100, 180.0)]
    speeds = predictor([(v100, 50.0)], Family.CNN, FP16, bench=bench)
    assert speeds(v100).evidence is Evidence.MEASURED
    assert speeds(v100).rate == pytest.approx(50.0)
    assert speeds(a100).evidence is Evidence.RATIO
    assert speeds(a100).rate == pytest.approx(90.0)
    assert speeds(h100).evidence is Evidence.SPECIFICATION
    width = [speeds(g).high / speeds(g).low for g in (v100, a100, h100)]
    assert width == sorted(width)


def test_repeated_measurements_of_a_gpu_count_as_one() -> None:
    t4 = gpus.find("T4")
    assert predict([(t4, 100.0), (t4, 400.0)], t4, Family.CNN, FP16).rate == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("K80", "fp16"),
        ("V100", "tf32"),
        ("T4", "bf16"),
        ("M60", "fp16"),
        ("P100", "tf32"),
        ("1080 Ti", "bf16"),
    ],
)
def test_a_precision_the_architecture_lacks_is_refused(name: str, precision: str) -> None:
    known = [(gpus.find("A100"), 100.0)]
    with pytest.raises(NotAllowed, match="cannot run"):
        predict(known, gpus.find(name), Family.CNN, Precision(precision))
    assert predict(known, gpus.find(name), Family.CNN, Precision(precision), fallback=True).rate > 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NotAllowed, match="does not fit"):
        predict([(gpus.find("A100"), 1.0)], gpus.find("T4"), Family.CNN, FP16, memory_gib=17)
    check_memory(gpus.find("T4"), 16)


def test_more_than_the_gpus_rate_is_refused() -> None:
    t4 = gpus.find("T4")  # 65 TFLOP/s
    assert utilisation(650, 24.3, t4, FP16) == pytest.approx(0.243)
    with pytest.raises(NotAllowed, match="impossible"):
        utilisation(3000, 24.3, t4, FP16)


def test_winograd_may_count_more_than_it_multiplies() -> None:
    """VGG16's forward pass on a V100 in fp32: 667 images/s by cnn-benchmarks, 1.3 times the printed rate."""
    v100 = gpus.find("V100")
    assert utilisation(667, 30.9, v100, Precision.FP32, family=Family.CNN) == pytest.approx(1.31, abs=0.01)
    with pytest.raises(NotAllowed):
        utilisation(667, 30.9, v100, Precision.FP32, family=Family.TRANSFORMER)
    with pytest.raises(NotAllowed):
        utilisation(1200, 30.9, v100, Precision.FP32, family=Family.CNN)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(Usage, match="impossible"):
        predict([(gpus.find("T4"), rate)], gpus.find("L4"), Family.CNN, FP16)


def test_nothing_measured_is_refused() -> None:
    with pytest.raises(Usage, match="at least one"):
        predict([], gpus.find("L4"), Family.CNN, FP16)


@pytest.mark.recorded(gpubench.FOLDER)
@pytest.mark.parametrize(
    ("read", "at_most"),
    [
        (gpubench.cnn_tables, 0.04),
        (lambda: gpubench.lambda_tables("2022-25", Precision.FP16), 0.09),
        (lambda: gpubench.lambda_tables("2022-25", Precision.TF32), 0.09),
    ],
    ids=["cnn-benchmarks", "Lambda fp16", "Lambda TF32"],
)
def test_leaving_out_one_gpu_at_a_time(read: object, at_most: float) -> None:
    errors, held = [], []
    for table in read():  # type: ignore[operator]
        for left, (gpu, actual) in enumerate(table.rates):
            rest = [r for n, r in enumerate(table.rates) if n != left]
            got = predict(rest, gpu, table.family, table.precision, fallback=True)
            errors.append(abs(got.rate / actual - 1))
            held.append(got.low <= actual <= got.high)
    assert len(errors) >= 100
    assert statistics.median(errors) <= at_most
    assert sum(held) / len(held) >= 0.9
