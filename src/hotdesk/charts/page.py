"""A figure as one HTML file: inline SVG, values under the pointer, day and night, desk and phone."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

import msgspec

from hotdesk.charts.figure import CROWD, DARK, DASHES, LIGHT, Axis, Figure, Series, thinned


class Sheet(NamedTuple):
    """How large one drawing is, in its own units, and how many ticks have room."""

    name: str
    width: int
    height: int
    x_ticks: int
    top: int = 12
    right: int = 16
    bottom: int = 44
    left: int = 64

    def x(self, axis: Axis, value: float) -> float:
        return self.left + axis.place(value) * (self.width - self.left - self.right)

    def y(self, axis: Axis, value: float) -> float:
        return self.height - self.bottom - axis.place(value) * (self.height - self.top - self.bottom)


#: Both are in the page; the screen's width chooses, or letters drawn for a desk would be dust on a phone.
SHEETS = (Sheet("wide", 900, 420, 8), Sheet("narrow", 420, 360, 4))
_BUCKETS = 800


def html(figure: Figure) -> str:
    """The whole page, self-contained."""
    x, y = figure.axes()
    kept = [thinned(series, x, _BUCKETS) for series in figure.series]
    title = escape(figure.title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{_STYLE}{_colours()}</style></head>
<body><main><h1>{title}</h1>
{"".join(_chart(sheet, figure, kept, x, y) for sheet in SHEETS)}
<ul class="legend">{_legend(kept)}</ul>
{"".join(f"<p class=note>{escape(note)}</p>" for note in figure.notes)}
</main><script type="application/json" id="data">{_data(kept, x, y)}</script>
<script>{_SCRIPT}</script></body></html>
"""


def _chart(sheet: Sheet, figure: Figure, kept: list[Series], x: Axis, y: Axis) -> str:
    ends = f'y1="{sheet.top}" y2="{sheet.height - sheet.bottom}"'
    box = f"{sheet.left} {sheet.top} {sheet.width - sheet.right} {sheet.height - sheet.bottom}"
    order = sorted(range(len(kept)), key=lambda n: _crowded(kept[n]), reverse=True)
    return f"""<div class="chart {sheet.name}" data-box="{box}">
<svg viewBox="0 0 {sheet.width} {sheet.height}" role="img" aria-label="{escape(_summary(figure))}">
{_frame(sheet, x, y)}
{chr(10).join(_series(sheet, n, kept[n], x, y) for n in order)}
{_marks(sheet, figure, y)}
<line class="cross" {ends} visibility="hidden"/></svg>
<div class="tip" hidden></div></div>
"""


def _frame(sheet: Sheet, x: Axis, y: Axis) -> str:
    parts = []
    low, right = sheet.height - sheet.bottom, sheet.width - sheet.right
    for value, label in y.ticks(6):
        at = sheet.y(y, value)
        parts.append(f'<line class="grid" x1="{sheet.left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{sheet.left - 8}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    free = 0.0
    for value, label in x.ticks(sheet.x_ticks):
        at, half = sheet.x(x, value), 3.7 * len(label)
        middle = min(max(at, half), sheet.width - half)  # a label at the edge stays whole
        if middle - half < free:
            continue
        free = middle + half + 8
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{sheet.top}" y2="{low}"/>')
        parts.append(f'<text x="{middle:.1f}" y="{low + 18}" text-anchor="middle">{escape(label)}</text>')
    parts.append(f'<text x="{right}" y="{sheet.height - 6}" text-anchor="end">{escape(x.name())}</text>')
    where = f"14 {(sheet.top + low) / 2:.0f}"
    parts.append(
        f'<text transform="translate({where}) rotate(-90)" text-anchor="middle">{escape(y.name())}</text>'
    )
    return "\n".join(parts)


def _marks(sheet: Sheet, figure: Figure, y: Axis) -> str:
    parts = []
    right = sheet.width - sheet.right
    for label, value in figure.marks:
        if y.drawable(value):
            at = sheet.y(y, value)
            parts.append(f'<line class="mark" x1="{sheet.left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(f'<text x="{right}" y="{at - 4:.1f}" text-anchor="end">{escape(label)}</text>')
    return "\n".join(parts)


def _series(sheet: Sheet, number: int, series: Series, x: Axis, y: Axis) -> str:
    style = f'class="s{number % len(LIGHT)}"'
    points = [
        (f"{sheet.x(x, a):.1f}", f"{sheet.y(y, b):.1f}") if x.drawable(a) and y.drawable(b) else None
        for a, b in zip(series.x, series.y, strict=True)
    ]
    if series.kind == "scatter":
        return "".join(_sign(number, *p, crowded=_crowded(series)) for p in points if p)
    path, pen_up = [], True
    for point in points:
        if point is None:
            pen_up = True
        elif pen_up:
            path.append(f"M{point[0]} {point[1]}")
            pen_up = False
        else:
            path.append(f"H{point[0]}V{point[1]}" if series.kind == "step" else f"L{point[0]} {point[1]}")
    dash = " ".join(map(str, DASHES[number % len(DASHES)]))
    line = (
        f'<path {style} d="{"".join(path)}"{f" stroke-dasharray={chr(34)}{dash}{chr(34)}" if dash else ""}/>'
    )
    if series.kind != "band":
        return line
    return (
        "".join(f'<polygon {style} points="{" ".join(around)}"/>' for around in _around(sheet, series, x, y))
        + line
    )


def _around(sheet: Sheet, series: Series, x: Axis, y: Axis) -> list[list[str]]:
    """The outlines of a band: one for each stretch without a hole."""
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for a, low, high in zip(series.x, series.low, series.high, strict=True):
        if x.drawable(a) and y.drawable(low) and y.drawable(high):
            stretches[-1].append((sheet.x(x, a), sheet.y(y, low), sheet.y(y, high)))
        elif stretches[-1]:
            stretches.append([])
    return [
        [f"{a:.1f},{high:.1f}" for a, _, high in edge] + [f"{a:.1f},{low:.1f}" for a, low, _ in edge[::-1]]
        for edge in stretches
        if edge
    ]


def _crowded(series: Series) -> bool:
    return series.kind == "scatter" and len(series.x) > CROWD


def _sign(number: int, x: str, y: str, *, crowded: bool = False) -> str:
    """A point: a shape of its own beside the colour; small and pale where there are many."""
    at = f'class="s{number % len(LIGHT)}{" many" if crowded else ""}" transform="translate({x} {y})"'
    if crowded:
        return f'<circle {at} r="2.5"/>'
    return f'<path {at} d="{_SIGNS[number % len(_SIGNS)]}" data-point=""/>'


def _legend(kept: list[Series]) -> str:
    items = []
    for n, series in enumerate(kept):
        dash = " ".join(map(str, DASHES[n % len(DASHES)]))
        shape = (
            _sign(n, "14", "7", crowded=_crowded(series))
            if series.kind == "scatter"
            else f'<path class="s{n % len(LIGHT)}" d="M0 7H28" stroke-dasharray="{dash or "none"}"/>'
        )
        items.append(f'<li><svg width="28" height="14">{shape}</svg> {escape(series.label)}</li>')
    return "".join(items)


def _summary(figure: Figure) -> str:
    names = ", ".join(series.label for series in figure.series)
    return f"{figure.title}: {figure.y_label} over {figure.x_label}; {names}"


def _data(kept: list[Series], x: Axis, y: Axis) -> str:
    """What the pointer shows, as shares of the axes. `<` is escaped, or a label could end it."""
    rows = []
    for series in kept:
        shown = [
            (round(x.place(a), 5), round(y.place(b), 5), x.format(a), y.format(b))
            for a, b in zip(series.x, series.y, strict=True)
            if x.drawable(a) and y.drawable(b)
        ]
        rows.append({"label": series.label, "kind": series.kind, "points": shown})
    return msgspec.json.encode(rows).decode().replace("<", "\\u003c")


def _colours() -> str:
    def rules(palette: tuple[str, ...]) -> str:
        return "".join(f".s{n}{{--c:{colour}}}" for n, colour in enumerate(palette))

    return f"{rules(LIGHT)}@media(prefers-color-scheme:dark){{{rules(DARK)}}}"


#: Circle, square, diamond, triangles, plus, star, bar: around (0, 0).
_SIGNS = (
    "M-5 0A5 5 0 1 1 5 0A5 5 0 1 1 -5 0Z",
    "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "M0 -6.5L6.5 0L0 6.5L-6.5 0Z",
    "M0 -6L6 5H-6Z",
    "M0 6L6 -5H-6Z",
    "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "M0 -7L2 -2L7 0L2 2L0 7L-2 2L-7 0L-2 -2Z",
    "M-6 -2.5H6V2.5H-6Z",
)

_STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#555;--grid:#ddd;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--soft:#aaa;--grid:#3a3a3a;--paper:#161616}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.4 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:1rem}h1{font-size:1.15rem;margin:0 0 .5rem}
.chart{position:relative}.narrow{display:none}svg{width:100%;height:auto;display:block}
@media(max-width:600px){.wide{display:none}.narrow{display:block}}
svg text{font-size:12px;fill:var(--soft);paint-order:stroke;stroke:var(--paper);stroke-width:4px}
.grid{stroke:var(--grid)}
.mark{stroke:var(--soft);stroke-dasharray:5 4}.cross{stroke:var(--soft)}
path{fill:none;stroke:var(--c);stroke-width:2}circle{fill:var(--c)}polygon{fill:var(--c);opacity:.2}
path[data-point]{fill:var(--c);stroke:var(--paper);stroke-width:1}.many{opacity:.5}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem}
.legend svg{width:28px;display:inline-block}.note{color:var(--soft);font-size:.85rem;margin:.2rem 0}
.tip{position:absolute;top:0;background:var(--paper);border:1px solid var(--grid);border-radius:4px;
padding:.3rem .6rem;pointer-events:none;font-size:13px;white-space:pre;max-width:100%;overflow:hidden}
"""

_SCRIPT = """
const rows=JSON.parse(document.getElementById("data").textContent);
function near(row,x,y,to){let best=null,far=Infinity;for(const p of row.points){const[px,py]=to(p);
const d=row.kind==="scatter"?Math.hypot(px-x,py-y):row.kind==="step"?(px<=x?x-px:Infinity):Math.abs(px-x);
if(d<far){far=d;best=p}}return row.kind==="scatter"&&far>30?null:best}
for(const chart of document.querySelectorAll(".chart")){const svg=chart.querySelector("svg"),
tip=chart.querySelector(".tip"),cross=chart.querySelector(".cross"),
[left,top,right,low]=chart.dataset.box.split(" ").map(Number),
to=p=>[left+p[0]*(right-left),low-p[1]*(low-top)];
svg.addEventListener("pointermove",e=>{const box=svg.getBoundingClientRect(),
scale=svg.viewBox.baseVal.width/box.width,
x=(e.clientX-box.left)*scale,y=(e.clientY-box.top)*scale,
lines=rows.map(r=>[r,near(r,x,y,to)]).filter(p=>p[1]).map(([r,p])=>`${r.label}: ${p[3]}  (${p[2]})`);
tip.hidden=!lines.length;tip.textContent=lines.join("\\n");cross.setAttribute("x1",x);cross.setAttribute("x2",x);
cross.setAttribute("visibility","visible");
tip.style.left=Math.max(0,Math.min(e.clientX-box.left+14,box.width-tip.offsetWidth-4))+"px"});
svg.addEventListener("pointerleave",()=>{tip.hidden=true;cross.setAttribute("visibility","hidden")})}
"""
