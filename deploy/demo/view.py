"""The live terminal view: progress, megawatts against baseline and target, tokens per joule, events."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.demo.picture import Picture, dollars

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 72


def sparkline(figures: list[float], width: int = WIDTH) -> str:
    """Draw *figures* as one line of bars between their own minimum and maximum; newest last."""
    newest = figures[-width:]
    if not newest:
        return ""
    low, high = min(newest), max(newest)
    span = (high - low) or 1.0
    return "".join(BARS[1 + round((figure - low) / span * (len(BARS) - 2))] for figure in newest)


def kw(power_kw: float | None) -> str:
    """Return *power_kw* for people; a gap is a dash, not a zero."""
    return "–" if power_kw is None else f"{power_kw:,.1f} kW"


def figures(picture: Picture, now: datetime) -> Table:
    """Return the table of what holds now."""
    table = Table.grid(padding=(0, 2))
    capacity = picture.capacity
    tokens = picture.tokens_per_joule()
    ours, theirs = dollars(picture)
    rows: list[tuple[str, str]] = [
        ("load now", kw(capacity.load_kw if capacity else None)),
        ("baseline", kw(picture.baseline_kw(now))),
        ("target", kw(picture.target_kw(now))),
        (
            "could let go",
            "  ".join(f"{tier} {power_kw:,.0f}" for tier, power_kw in picture.relief_kw().items()) + " kW",
        ),
        ("tokens/s/W", "–" if tokens is None else f"{tokens:.2f} (inference)"),
        ("hosts", f"{capacity.hosts} reporting, {capacity.hosts_stale} stale" if capacity else "–"),
        ("commands", f"{picture.applied} applied, {picture.refused} refused"),
        ("hosts capped", f"{len(picture.commanded_hosts - picture.released_hosts)} of {len(picture.commanded_hosts)}"),
        ("settled", f"ours ${ours}, venue ${theirs} (simulated)" if ours is not None else "–"),
    ]
    for name, text in rows:
        table.add_row(Text(name, style="dim"), text)
    return table


def notes(picture: Picture) -> Table:
    """Return what happened last, oldest first."""
    table = Table.grid(padding=(0, 2))
    for note in picture.notes:
        table.add_row(Text(f"{note.at:%H:%M:%S}", style="dim"), note.text)
    return table


def render(picture: Picture, now: datetime, stage: str, simulated: str) -> RenderableType:
    """Return the whole view."""
    loads = [load_kw for _, load_kw in picture.loads]
    return Group(
        Panel(
            Group(figures(picture, now), Text(sparkline(loads), style="cyan")),
            title=f"firmwatt demo · {stage} · {now:%Y-%m-%d %H:%M:%S} UTC (simulated clock)",
            subtitle=simulated,
        ),
        Panel(notes(picture), title="what happened"),
    )
