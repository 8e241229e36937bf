"""A figure as one HTML file: inline SVG, values under the pointer, day and night."""

from __future__ import annotations

from html import escape

import msgspec

from hotdesk.charts.figure import DARK, DASHES, LIGHT, Axis, Figure, Series, thinned

_WIDTH, _HEIGHT, _TOP, _RIGHT, _BOTTOM, _LEFT = 900, 420, 12, 16, 44, 64
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
<div id="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"
 aria-label="{escape(_summary(figure))}">
{_frame(x, y)}
{_marks(figure, x, y)}
{chr(10).join(_series(n, series, x, y) for n, series in enumerate(kept))}
<line id="cross" class="cross" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/></svg>
<div id="tip" hidden></div></div>
<ul class="legend">{_legend(figure)}</ul>
{"".join(f"<p class=note>{escape(note)}</p>" for note in figure.notes)}
</main><script type="application/json" id="data">{_data(kept, x, y)}</script>
<script>{_SCRIPT}</script></body></html>
"""


def _px(x: Axis, value: float) -> float:
    return _LEFT + x.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _py(y: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - y.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _frame(x: Axis, y: Axis) -> str:
    parts = []
    for value, label in y.ticks(6):
        at = _py(y, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    free = 0.0
    for value, label in x.ticks(8):
        at, half = _px(x, value), 3.5 * len(label)
        if at - half < free:
            continue
        free = at + half + 8
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{escape(label)}</text>'
        )
    middle = f"14 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}"
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x.name())}</text>')
    parts.append(
        f'<text transform="translate({middle}) rotate(-90)" text-anchor="middle">{escape(y.name())}</text>'
    )
    return "\n".join(parts)


def _marks(figure: Figure, x: Axis, y: Axis) -> str:
    parts = []
    for label, value in figure.marks:
        if y.drawable(value):
            at = _py(y, value)
            parts.append(
                f'<line class="mark" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            parts.append(
                f'<text x="{_WIDTH - _RIGHT}" y="{at - 4:.1f}" text-anchor="end">{escape(label)}</text>'
            )
    return "\n".join(parts)


def _series(number: int, series: Series, x: Axis, y: Axis) -> str:
    style = f'class="s{number % len(LIGHT)}"'
    points = [
        (f"{_px(x, a):.1f}", f"{_py(y, b):.1f}") if x.drawable(a) and y.drawable(b) else None
        for a, b in zip(series.x, series.y, strict=True)
    ]
    if series.kind == "scatter":
        return "".join(f'<circle {style} cx="{p[0]}" cy="{p[1]}" r="4"/>' for p in points if p)
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
    edge = [
        (_px(x, a), _py(y, low), _py(y, high))
        for a, low, high in zip(series.x, series.low, series.high, strict=True)
        if x.drawable(a) and y.drawable(low) and y.drawable(high)
    ]
    around = [f"{a:.1f},{high:.1f}" for a, _, high in edge] + [
        f"{a:.1f},{low:.1f}" for a, low, _ in edge[::-1]
    ]
    return f'<polygon {style} points="{" ".join(around)}"/>{line}'


def _legend(figure: Figure) -> str:
    items = []
    for n, series in enumerate(figure.series):
        dash = " ".join(map(str, DASHES[n % len(DASHES)]))
        shape = (
            f'<circle class="s{n % len(LIGHT)}" cx="14" cy="6" r="4"/>'
            if series.kind == "scatter"
            else f'<path class="s{n % len(LIGHT)}" d="M0 6H28" stroke-dasharray="{dash or "none"}"/>'
        )
        items.append(f'<li><svg width="28" height="12">{shape}</svg> {escape(series.label)}</li>')
    return "".join(items)


def _summary(figure: Figure) -> str:
    names = ", ".join(series.label for series in figure.series)
    return f"{figure.title}: {figure.y_label} over {figure.x_label}; {names}"


def _data(kept: list[Series], x: Axis, y: Axis) -> str:
    """What the pointer shows, in the page's own coordinates. `<` is escaped, or a label could end it."""
    rows = []
    for series in kept:
        shown = [
            (round(_px(x, a), 1), round(_py(y, b), 1), x.format(a), y.format(b))
            for a, b in zip(series.x, series.y, strict=True)
            if x.drawable(a) and y.drawable(b)
        ]
        rows.append({"label": series.label, "kind": series.kind, "points": shown})
    return msgspec.json.encode(rows).decode().replace("<", "\\u003c")


def _colours() -> str:
    def rules(palette: tuple[str, ...]) -> str:
        return "".join(f".s{n}{{--c:{colour}}}" for n, colour in enumerate(palette))

    return f"{rules(LIGHT)}@media(prefers-color-scheme:dark){{{rules(DARK)}}}"


_STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#555;--grid:#ddd;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--soft:#aaa;--grid:#3a3a3a;--paper:#161616}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.4 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:1rem}h1{font-size:1.15rem;margin:0 0 .5rem}
#chart{position:relative}svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:var(--soft)}.grid{stroke:var(--grid)}
.mark{stroke:var(--soft);stroke-dasharray:5 4}.cross{stroke:var(--soft)}
path{fill:none;stroke:var(--c);stroke-width:2}circle{fill:var(--c)}polygon{fill:var(--c);opacity:.2}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem}
.legend svg{width:28px;display:inline-block}.note{color:var(--soft);font-size:.85rem;margin:.2rem 0}
#tip{position:absolute;top:0;background:var(--paper);border:1px solid var(--grid);border-radius:4px;
padding:.3rem .6rem;pointer-events:none;font-size:13px;white-space:pre}
"""

_SCRIPT = """
const rows=JSON.parse(document.getElementById("data").textContent),chart=document.getElementById("chart"),
svg=chart.querySelector("svg"),tip=document.getElementById("tip"),cross=document.getElementById("cross");
function near(row,x,y){let best=null,far=Infinity;for(const p of row.points){
const d=row.kind==="scatter"?
Math.hypot(p[0]-x,p[1]-y):row.kind==="step"?(p[0]<=x?x-p[0]:Infinity):Math.abs(p[0]-x);
if(d<far){far=d;best=p}}return row.kind==="scatter"&&far>30?null:best}
svg.addEventListener("pointermove",e=>{const box=svg.getBoundingClientRect(),
scale=svg.viewBox.baseVal.width/box.width,
x=(e.clientX-box.left)*scale,y=(e.clientY-box.top)*scale,
lines=rows.map(r=>[r,near(r,x,y)]).filter(p=>p[1]).map(([r,p])=>`${r.label}: ${p[3]}  (${p[2]})`);
tip.hidden=!lines.length;tip.textContent=lines.join("\\n");cross.setAttribute("x1",x);cross.setAttribute("x2",x);
cross.setAttribute("visibility","visible");
tip.style.left=Math.min(e.clientX-box.left+14,Math.max(0,box.width-tip.offsetWidth-4))+"px"});
svg.addEventListener("pointerleave",()=>{tip.hidden=true;cross.setAttribute("visibility","hidden")});
"""
