"""The kill switch that needs nothing of ours to work: a file that is there halts, one that is gone does not."""

from pathlib import Path


def file_halt(path: Path) -> tuple[str, str] | None:
    """
    Return (by, why) of the halt file at *path*, None where there is none; its first line may say ``NAME: REASON``.

    A file that cannot be read, or not even looked for, halts.
    """
    try:
        text = path.read_bytes()[:1000].decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return "file", f"{path} cannot be read: {error.strerror}"
    by, colon, why = text.partition("\n")[0].partition(":")
    if colon and by.strip() and why.strip():
        return by.strip(), why.strip()
    return "file", by.strip() or f"{path} is there"
