"""
`scontrol` as far as control goes, run as a program of its own: suspend, resume, show jobs, on a small state file.

    scontrol suspend 42,43        scontrol show job 42 --json
    scontrol resume 42            scontrol --details --json show jobs

Texts and codes are Slurm's: src/common/slurm_errno.c for the texts, `scontrol_suspend` in src/scontrol/update_job.c for
where they go (standard error, one line a job, the others are still asked, exit 1), `_job_suspend_op` in
src/slurmctld/job_mgr.c for what is refused. A job that is suspended by hand may be suspended again; one that runs
cannot be resumed: "Job is not suspended", before Slurm 20.02 or so "Requested operation is presently disabled".

It imports nothing of the project, so that it starts as quickly as a program may.
"""

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

ACCESS_DENIED = "Access/permission denied"
ALREADY_DONE = "Job/step already completing or completed"
DISABLED = "Requested operation is presently disabled"
INVALID_JOB_ID = "Invalid job id specified"
JOB_PENDING = "Job is pending execution"
NOT_RUNNING = "Job is not running"
NOT_SUSPENDED = "Job is not suspended"
NOT_SUPPORTED = "Requested operation not supported on this system"
UNREACHABLE = "Unable to contact slurm controller (connect failure)"

FINISHED = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "COMPLETING"}
STATES = {"suspend": "SUSPENDED", "resume": "RUNNING"}

State = dict[str, Any]


def verdict(state: State, verb: str, job_id: str) -> str:
    """Return why *verb* is refused for *job_id*, empty where it is not."""
    job = state["jobs"].get(job_id)
    status = job["job_state"][0] if job else ""
    against = (
        (state["denied"], ACCESS_DENIED),
        (state["refusal"], state["refusal"]),
        (job is None, INVALID_JOB_ID),
        (status == "PENDING", JOB_PENDING),
        (status in FINISHED, ALREADY_DONE),
        (verb == "resume" and status != "SUSPENDED", NOT_SUSPENDED),
        (verb == "suspend" and status not in {"RUNNING", "SUSPENDED"}, NOT_RUNNING),
    )
    return next((text for holds, text in against if holds), "")


def turn(state: State, verb: str, words: list[str]) -> int:
    """Suspend or resume each job of a list."""
    if not words:
        sys.stderr.write(f"too few arguments for keyword:{verb}\n")
        return 1
    code = 0
    for job_id in words[0].split(","):
        why = verdict(state, verb, job_id)
        if why:
            sys.stderr.write(f"{why} for job {job_id}\n")
            code = 1
        elif not state["ignores"]:
            state["jobs"][job_id]["job_state"] = [STATES[verb]]
    return code


def show(state: State, words: list[str], *, as_json: bool) -> int:
    """Print one job or all."""
    if state["refusal"] == UNREACHABLE:
        sys.stderr.write(f"slurm_load_jobs error: {UNREACHABLE}\n")
        return 1
    jobs = list(state["jobs"].values())
    if words:
        jobs = [state["jobs"][job_id] for job_id in words[0].split(",") if job_id in state["jobs"]]
    if words and not jobs:
        sys.stderr.write(f"slurm_load_jobs error: {INVALID_JOB_ID}\n")
        return 1
    if as_json:
        document = {"meta": {"slurm": {"release": "25.05.3"}}, "jobs": jobs, "errors": [], "warnings": []}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.writelines(f"JobId={job['job_id']}\n   JobState={job['job_state'][0]}\n\n" for job in jobs)
    return 0


def run(state: State, words: list[str]) -> int:
    """Obey one command line and return its exit code."""
    options, words = {word for word in words if word.startswith("-")}, [word for word in words if word[0] != "-"]
    match words:
        case ["suspend" | "resume" as verb, *rest]:
            return turn(state, verb, rest)
        case ["show", "job" | "jobs", *rest]:
            return show(state, rest, as_json="--json" in options)
    sys.stderr.write(f"invalid keyword: {' '.join(words)}\n")
    return 1


def main(file: Path, words: list[str]) -> int:
    """Obey under the state file's lock and write down what came of it."""
    time.sleep(json.loads(file.read_text())["delay_s"])
    with file.open("r+") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        state = json.load(locked)
        code = run(state, words)
        state["calls"].append({"words": words, "code": code})
        locked.seek(0)
        locked.write(json.dumps(state))
        locked.truncate()
    time.sleep(state["late_s"])
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
