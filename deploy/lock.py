"""
Keep `uv.lock` free of addresses: ``python deploy/lock.py`` rewrites it in place.

What a lock must say is name, version, condition and hash; where packages come from is the business of whoever installs
(pip's configuration here). `uv` writes the index's address into every line, and accepts any other in its place.
"""

import re
import sys
from pathlib import Path

#: A host that can never exist (RFC 2606, section 2).
NOWHERE = "https://index.invalid"


def neutral(lock: str) -> str:
    """Return *lock* with every address replaced by one that leads nowhere, without sizes and upload times. Pure."""
    lock = re.sub(r'registry = "https?://[^"]*"', f'registry = "{NOWHERE}/simple"', lock)
    lock = re.sub(r'url = "https?://[^"]*/([^"/]+)"', rf'url = "{NOWHERE}/\1"', lock)
    return re.sub(r', (?:size = \d+|upload-time = "[^"]*")', "", lock)


def main(argv: list[str]) -> int:
    """Rewrite the file named in *argv*, by default ``uv.lock`` here."""
    lock = Path(*argv) if argv else Path("uv.lock")
    lock.write_text(neutral(lock.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
