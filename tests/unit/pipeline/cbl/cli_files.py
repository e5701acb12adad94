"""
The worked example of CAISO's 10-in-10 as files: hour-ending 14, 15, 16 and 18, 19, 20, MW, in front of an event.

Unadjusted 42.5, 41.5, 40.5; 43 ÷ 40.5 = 1.061728; baseline 45.123457, 44.061728, 43.0; metered 34, 33, 35.
"""

from pathlib import Path

HOURS = (13, 14, 15, 17, 18, 19)
MEGAWATTS = """
07-22 40   41   42   43   42   41
07-21 39   40   41   42   41   40
07-20 38   39   40   41   40   39
07-17 41   42   43   44   43   42
07-16 40   41   42   30   29   28
07-15 40.5 41.5 42.5 43.5 42.5 41.5
07-14 37   38   39   40   39   38
07-13 42   43   44   45   44   43
07-10 41   42   43   29   28   30
07-09 39.5 40.5 41.5 42.5 41.5 40.5
07-08 40   41   42   43   42   41
07-07 38   39   40   41   40   39
07-06 36   37   38   39   38   37
07-23 42   43   44   34   33   35
"""
EVENT = ("--start", "2026-07-23T17:00", "--end", "2026-07-23T20:00", "--timezone", "America/Los_Angeles")


def rows() -> list[tuple[str, float]]:
    """Return local start and kW of every reading."""
    return [
        (f"2026-{day}T{hour}:00", float(megawatts) * 1000)
        for day, *loads in map(str.split, MEGAWATTS.strip().splitlines())
        for hour, megawatts in zip(HOURS, loads, strict=True)
    ]


def load_csv(folder: Path, *, left_out: tuple[str, ...] = ()) -> str:
    """Write load.csv without the readings that start at *left_out*; return its name."""
    path = folder / "load.csv"
    lines = [f"{start},{kw}" for start, kw in rows() if start not in left_out]
    path.write_text("\n".join(["interval_start,load_kw", *lines, ""]))
    return str(path)


def events_csv(folder: Path) -> str:
    """Write the two calls before; return the file's name."""
    path = folder / "events.csv"
    path.write_text("start,end\n2026-07-16T17:00,2026-07-16T20:00\n2026-07-10T17:00,2026-07-10T20:00\n")
    return str(path)


def words(folder: Path, *left_out: str) -> list[str]:
    """Return the options that ask for the worked example."""
    return ["--load", load_csv(folder, left_out=left_out), "--events", events_csv(folder), *EVENT]
