"""
Pictures for the accuracy report: SVG written by hand, colours that follow the reader's light or dark preference. Pure.

    caiso-10-in-10   │    ●──○   ●─○        ● with its adjustment, ○ without; a pair for each resource
    pjm-high-4-of-5  │      ○──●            │ the gate
                     0 %    10 %   20 %
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 960, 210, 24, 58, 24, 44
Place = Callable[[float], float]
MOST = 1.0
"""Errors beyond 100 % are drawn at the edge."""
STYLE = """
.page{fill:#ffffff} .text{fill:#24292f;font:13px system-ui,sans-serif} .title{font-weight:600;font-size:15px}
.small{font-size:12px} .end{text-anchor:end} .mid{text-anchor:middle} .rule{stroke:#d8dee4;stroke-width:1}
.gate{stroke:#cf222e;stroke-width:1.5;stroke-dasharray:5 3} .after{fill:#0b5cad} .before{fill:none;stroke:#8250df}
.pair{stroke:#a7aeb6;stroke-width:1} .line{fill:none;stroke-width:1.2} .l0{stroke:#0b5cad} .l1{stroke:#cf222e}
.l2{stroke:#8250df} .l3{stroke:#1a7f37} .f0{fill:#0b5cad} .f1{fill:#cf222e} .f2{fill:#8250df} .f3{fill:#1a7f37}
@media (prefers-color-scheme:dark){.page{fill:#0d1117} .text{fill:#e6edf3} .rule{stroke:#30363d} .after{fill:#79c0ff}
.before{stroke:#d2a8ff} .pair{stroke:#6e7681} .gate{stroke:#ff7b72} .l0{stroke:#79c0ff} .l1{stroke:#ff7b72}
.l2{stroke:#d2a8ff} .l3{stroke:#56d364} .f0{fill:#79c0ff} .f1{fill:#ff7b72} .f2{fill:#d2a8ff} .f3{fill:#56d364}}
"""


@dataclass(frozen=True)
class Dot:
    """One resource's error by a method, and what it was before the adjustment; None where there is none."""

    label: str
    error: float
    before: float | None = None


def dots(title: str, rows: Sequence[tuple[str, Sequence[Dot]]], gate: float) -> str:
    """Return a row of dots a method, on an axis of errors with a line at the *gate*."""
    shown = [value for _, row in rows for dot in row for value in (dot.error, dot.before) if value is not None]
    most = min(MOST, max([gate * 1.25, *shown]) * 1.04)
    bottom = TOP + ROW * len(rows)

    def x(error: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(error, most) / most

    def parts() -> Iterator[str]:
        step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if most / step < 12 or step == 0.2)  # noqa: PLR2004 - labels
        for number in range(int(most / step) + 1):
            at = x(number * step)
            yield f'<line class="rule" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom}"/>'
            yield f'<text class="text small mid" x="{at:.1f}" y="{bottom + 18}">{number * step:.0%}</text>'
        yield f'<line class="gate" x1="{x(gate):.1f}" y1="{TOP - 6}" x2="{x(gate):.1f}" y2="{bottom}"/>'
        for number, (label, row) in enumerate(rows):
            y = TOP + ROW * (number + 0.5)
            yield f'<text class="text end" x="{LEFT - 10}" y="{y + 4:.1f}">{escape(label)}</text>'
            for dot in row:
                yield from _dot(dot, y, x)

    legend = f"● as the rule says · ○ before its adjustment · dashed: {gate:.0%} · a pair a resource"
    return _page(title, legend, bottom + BOTTOM, parts())


def _dot(dot: Dot, y: float, x: Place) -> Iterator[str]:
    name = f"{dot.label}: {dot.error:.1%}"
    if dot.before is not None:
        name += f", before its adjustment {dot.before:.1%}"
        yield f'<line class="pair" x1="{x(dot.before):.1f}" y1="{y:.1f}" x2="{x(dot.error):.1f}" y2="{y:.1f}"/>'
        yield f'<circle class="before" cx="{x(dot.before):.1f}" cy="{y:.1f}" r="3.5"/>'
    yield f'<circle class="after" cx="{x(dot.error):.1f}" cy="{y:.1f}" r="4"><title>{escape(name)}</title></circle>'


def lines(title: str, days: int, named: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """Return up to four loads, kW, each over so many *days*; None is a gap."""
    height = 300
    most = max(value for _, values in named for value in values if value is not None) * 1.05
    across, down = WIDTH - 60 - RIGHT, height - TOP - BOTTOM

    def point(index: int, value: float, count: int) -> str:
        return f"{60 + across * index / count:.1f},{TOP + down * (1 - value / most):.1f}"

    def parts() -> Iterator[str]:
        for day in range(days + 1):
            at = 60 + across * day / days
            yield f'<line class="rule" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{TOP + down}"/>'
            yield f'<text class="text small mid" x="{at:.1f}" y="{TOP + down + 18}">{day}</text>'
        for share in (0.0, 0.5, 1.0):
            y = TOP + down * (1 - share / 1.05)
            yield f'<text class="text small end" x="52" y="{y + 4:.1f}">{most / 1.05 * share:,.0f} kW</text>'
        for number, (label, values) in enumerate(named):
            drawn = [None if value is None else point(at, value, len(values)) for at, value in enumerate(values)]
            yield f'<path class="line l{number}" d="{_path(drawn)}"/>'
            yield f'<text class="text small f{number}" x="{60 + 200 * number}" y="44">{escape(label)}</text>'

    return _page(title, "", height, parts())


def _path(points: Sequence[str | None]) -> str:
    before = [None, *points]
    return " ".join(
        f"{'M' if last is None else 'L'}{point}"
        for last, point in zip(before, points, strict=False)
        if point is not None
    )


def _page(title: str, legend: str, height: int, parts: Iterator[str]) -> str:
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title><style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            f'<text class="text title" x="16" y="24">{escape(title)}</text>',
            f'<text class="text small" x="16" y="44">{escape(legend)}</text>',
            *parts,
            "</svg>\n",
        )
    )
