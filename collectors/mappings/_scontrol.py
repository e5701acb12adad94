"""One run of Slurm's `scontrol`: a process of its own, with a bound on time and on size."""

import subprocess
import tempfile

from collectors import SourceError
from collectors.mappings._slurm_jobs import Job, parse

MAX_BYTES = 24 << 20
"""Some three thousand jobs of 8 kB each; it is in memory while it is read, and a collector is to stay below 80 MB."""


def ask(program: str, node: str, timeout_s: float) -> tuple[dict[str, Job], tuple[str, ...]]:
    """
    Return the jobs on *node* by number and a line for each that could not be told; or raise `SourceError`.

    The reply goes through a file, so that one of a controller with very many jobs is refused before it is in memory.
    """
    command = [program, "--details", "--json", "show", "jobs"]
    with tempfile.TemporaryFile() as reply, tempfile.TemporaryFile() as complaint:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=reply, stderr=complaint, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"{program} did not answer within {timeout_s:g} s") from error
        except OSError as error:
            raise SourceError(f"cannot run {program}: {error.strerror}; write its full path") from error
        if done.returncode:
            complaint.seek(0)
            said = complaint.read(4096).decode(errors="replace").strip().splitlines()
            raise SourceError(f"{program} failed: {said[0] if said else f'exit code {done.returncode}'}")
        if reply.seek(0, 2) > MAX_BYTES:
            raise SourceError(f"{program} answered more than {MAX_BYTES >> 20} MB: use the prolog and map_dir instead")
        reply.seek(0)
        return parse(reply.read(), node)
