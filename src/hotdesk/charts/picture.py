"""A figure as PNG or SVG, by matplotlib, which is loaded here and nowhere else."""

from __future__ import annotations

import io
from textwrap import fill
from typing import Any

from hotdesk.charts.figure import CROWD, DASHES, LIGHT, Figure, Series, thinned
from hotdesk.charts.parallel import Parallel, draw
from hotdesk.core.errors import Missing
from hotdesk.system import install_line

#: Thinner than a pixel: what is left out cannot be seen.
_BUCKETS = 2000


def picture(figure: Figure | Parallel, form: str) -> bytes:
    """The figure as `form`, "png" or "svg"; the same figure gives the same bytes.

    Raises `Missing` where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure as Sheet
    except ImportError as error:
        raise Missing(
            "Pictures as .png and .svg need matplotlib, which is not installed.",
            "An .html picture needs nothing.",
            install_line("plots"),
        ) from error
    out = io.BytesIO()
    look: Any = {
        "svg.hashsalt": "hotdesk",
        "svg.fonttype": "none",
        "font.size": 10,
        "font.family": ["DejaVu Sans"],
        "axes.unicode_minus": False,
        "text.parse_math": False,  # "$0.30/h" is a price, not a formula
    }
    with mpl.rc_context(look):
        sheet = Sheet(figsize=(9, 4.6), dpi=120, layout="constrained")
        if isinstance(figure, Parallel):
            draw(sheet.add_subplot(), figure)
        else:
            _draw(sheet.add_subplot(), figure)
        if figure.notes:
            sheet.supxlabel("\n".join(figure.notes), x=0.01, ha="left", fontsize=8, color="#555555")
        metadata = {"Date": None, "Creator": "hotdesk"} if form == "svg" else {"Software": "hotdesk"}
        sheet.savefig(out, format=form, metadata=metadata)
    return out.getvalue()


def _draw(axes: Any, figure: Figure) -> None:
    x, y = figure.axes()
    for n, series in enumerate(figure.series):
        _series(axes, thinned(series, x, _BUCKETS), n)
    for label, value in figure.marks:
        axes.axhline(value, color="#444444", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            label,
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color="#333333",
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    axes.set_title(fill(figure.title, 84), loc="left", fontsize=12, fontweight="bold")
    for axis, one, about in ((x, axes.xaxis, 6 if x.time else 9), (y, axes.yaxis, 6)):
        if axis.log:
            one._set_axes_scale("log")
        ticks = axis.ticks(about)
        one.set_ticks([v for v, _ in ticks], labels=[label for _, label in ticks], minor=False)
        one.set_ticks([], minor=True)
        one.set_label_text(axis.name())
    wide = (x.high / x.low) ** 0.01 if x.log else (x.high - x.low) * 0.01
    axes.set_xlim(*((x.low / wide, x.high * wide) if x.log else (x.low - wide, x.high + wide)))
    axes.set_ylim(y.low, y.high)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(figure.series) > 1:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _series(axes: Any, series: Series, number: int) -> None:
    colour = LIGHT[number % len(LIGHT)]
    dash = DASHES[number % len(DASHES)]
    style = {
        "color": colour,
        "label": series.label,
        "linewidth": 1.6,
        "linestyle": (0, dash) if dash else "-",
    }
    if series.kind == "scatter":
        marker, crowd = "osD^vPX*"[number % 8], len(series.x) > CROWD
        axes.scatter(
            series.x,
            series.y,
            s=10 if crowd else 64,
            color=colour,
            alpha=0.5 if crowd else 1.0,
            marker=marker,
            linewidth=0 if crowd else 1,
            edgecolor="none" if crowd else "white",
            label=series.label,
            zorder=2.5 if crowd else 4,
        )
        return
    if series.kind == "band":
        axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(series.x, series.y, drawstyle="steps-post" if series.kind == "step" else "default", **style)
