"""
Fuzz a venue's decoders: ``python tests/long/fuzz_decoders.py VENUE --seconds 1200 --seed 1``.

The targets are found by file: ``tests/doubles/fuzz/VENUE.py`` exposes `TARGETS`, by name a function of bytes, and
`SEEDS`, by name what the corpus begins with. Each target runs in a process of its own, as libFuzzer wants it, for an
equal share of the time. `doubles.fuzz.judge` says what a decoder may do. Prints one JSON line a target; 1 on a crash.
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # ships no types

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

MAX_LEN = 65_536
STAT = re.compile(r"stat::(\w+):\s+(\d+)")


def main(argv: list[str]) -> int:
    """Fuzz every target of the venue, or in a child one of them."""
    ours, libfuzzer = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    wanted = _arguments(ours)
    if wanted.target:
        _fuzz(wanted.venue, wanted.target, libfuzzer)
    module = importlib.import_module(f"doubles.fuzz.{wanted.venue}")
    names = wanted.only or list(module.TARGETS)
    crashes = 0
    for name in names:
        found = _child(wanted, name, list(module.SEEDS.get(name, ())), wanted.seconds / len(names))
        crashes += int(bool(found["crash"]))
        print(json.dumps(found), flush=True)  # noqa: T201 - what it is for
    return 1 if crashes else 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz a venue's decoders")
    parser.add_argument("venue")
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=-1, help="at most so many a target; -1: as time allows")
    parser.add_argument("--only", action="append", help="only this target; may be repeated")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _child(wanted: argparse.Namespace, name: str, seeds: list[bytes], seconds: float) -> dict[str, object]:
    """Fuzz one target in a process of its own; return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        options = [
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={wanted.seed}",
            f"-runs={wanted.runs}",
            f"-max_len={MAX_LEN}",
            f"-artifact_prefix={folder}/",
            "-timeout=20",
            "-print_final_stats=1",
        ]
        begun = time.monotonic()
        run = subprocess.run(
            [sys.executable, __file__, wanted.venue, "--target", name, "--", *options, str(corpus)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        took_s = time.monotonic() - begun
        found = [path.read_bytes().hex() for path in sorted(Path(folder).glob("*-*")) if path.is_file()]
    text = run.stdout.decode(errors="replace")
    stats = {key: int(value) for key, value in STAT.findall(text)}
    runs = stats.get("number_of_executed_units", 0)
    failed = run.returncode != 0
    return {
        "venue": wanted.venue,
        "target": name,
        "seed": wanted.seed,
        "runs": runs,
        "seconds": round(took_s, 1),
        "runs_per_s": round(runs / took_s),
        "crash": _why(text) if failed else "",
        "input_hex": found[0] if failed and found else "",
    }


def _why(text: str) -> str:
    """Return the line of the child's errors that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "DecoderError:" in line] or [line for line in lines if "ERROR:" in line]
    return (told or lines or ["no reason was given"])[0]


def _fuzz(venue: str, name: str, libfuzzer: list[str]) -> None:
    """Hand this process over to libFuzzer; it ends in there."""
    with atheris.instrument_imports(include=["bidding"]):
        module = importlib.import_module(f"doubles.fuzz.{venue}")
    from doubles.fuzz.judge import judge

    target = module.TARGETS[name]

    def one(data: bytes) -> None:
        judge(target, data)

    atheris.Setup([sys.argv[0], *libfuzzer], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
