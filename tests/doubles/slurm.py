"""A `scontrol` as a real program: it checks how it is called, counts its calls and answers what a test has written."""

import json
from pathlib import Path
from typing import Any

PROGRAM = """#!/bin/bash
echo "$*" >>"$0.calls"
if [ -f "$0.hangs" ]; then exec sleep 60; fi
if [ -f "$0.error" ]; then cat "$0.error" >&2; exit 1; fi
if [ "$*" != "--details --json show jobs" ]; then echo "scontrol: unexpected: $*" >&2; exit 2; fi
cat "$0.reply"
"""


class Scontrol:
    """One stand-in for `scontrol` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scontrol"
        self.path.write_text(PROGRAM)
        self.path.chmod(0o755)
        self.answers()

    def answers(self, *jobs: dict[str, Any]) -> None:
        """From now on list *jobs*."""
        self.says(json.dumps({"meta": {"slurm": {"release": "25.05.3"}}, "jobs": jobs, "errors": [], "warnings": []}))

    def says(self, text: str) -> None:
        """From now on print *text* and nothing else."""
        self._beside("error").unlink(missing_ok=True)
        self._beside("reply").write_text(text)

    def fails(self, complaint: str) -> None:
        """From now on complain and exit with 1."""
        self._beside("error").write_text(complaint + "\n")

    def hangs(self) -> None:
        """From now on never answer."""
        self._beside("hangs").touch()

    @property
    def calls(self) -> int:
        """How often it was run."""
        record = self._beside("calls")
        return len(record.read_text().splitlines()) if record.exists() else 0

    def _beside(self, suffix: str) -> Path:
        return self.path.with_suffix(f".{suffix}")


def job(number: int, nodes: str, *gres: str, **facts: str) -> dict[str, Any]:
    """Return a running job as Slurm 23.11 and later print it: *gres* for each of its *nodes*."""
    return {
        "job_id": number,
        "job_state": ["RUNNING"],
        "array_job_id": {"set": True, "infinite": False, "number": 0},
        "nodes": nodes,
        "gres_detail": list(gres),
        "job_resources": {"select_type": ["CORE"], "nodes": {"count": len(gres), "list": nodes, "allocation": []}},
        "user_name": "alice",
        "account": "physics",
        "partition": "batch",
        "qos": "normal",
    } | facts
