"""
PDUs that speak SNMP: snmpsim's responder as a process of its own, on the walks and records of one folder.

    with snmp_pdu.responding({"apc-8641": walk, "pdu2": snmp_pdu.records({"1.3.6…": 121})}) as agent:
        ...  # 127.0.0.1:agent.port, community "pdu2"; by v3: user "meter", context "pdu2"

snmpsim takes a record file's name for the community and for the v3 context. What it answers is what the file holds:
a recorded walk answers as the device did.
"""

import asyncio
import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

USER, AUTH_KEY, PRIV_KEY = "meter", "authentic-phrase", "private-phrase"
OPEN_USER = "open-meter"
"""Authenticates with the same key, and does not encrypt."""
AUTH, PRIV = "SHA256", "AES"

START_S = 30.0

#: snmpsim 1.2.2 imports pysmi, which it does not depend on, for the version in its banner.
LAUNCH = """
import sys, types
pysmi = types.ModuleType("pysmi")
pysmi.__version__ = "absent"
sys.modules.setdefault("pysmi", pysmi)
from snmpsim.commands.responder import main
sys.exit(main())
"""

INTEGER, GAUGE = "2", "66"


class Agent(NamedTuple):
    """A responder that runs."""

    port: int
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """Pull the plug: nothing answers at the port any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def records(objects: Mapping[str, int], kind: str = GAUGE) -> str:
    """Return *objects* as a snmprec file: ``OID|type|value`` lines in the order of their OIDs."""
    rows = sorted(objects.items(), key=lambda row: [int(step) for step in row[0].split(".")])
    return "".join(f"{oid}|{kind}|{count}\n" for oid, count in rows)


@contextmanager
def responding(devices: Mapping[str, str | Path], port: int = 0) -> Iterator[Agent]:
    """Serve *devices*, each the text of a snmprec file or the path of one, by their names; at *port*, or at any."""
    folder = Path(tempfile.mkdtemp(prefix="firmwatt-snmp-"))
    try:
        for name, device in devices.items():
            text = device if isinstance(device, str) else device.read_text(encoding="utf-8")
            (folder / f"{name}.snmprec").write_text(text, encoding="utf-8")
        agent = _start(folder, port or silent_port())
        try:
            yield agent
        finally:
            agent.stop()
    finally:
        shutil.rmtree(folder)


@functools.cache
def standing() -> Agent:
    """Return a responder that lasts as long as this process: "rack", an APC rPDU2 at 4.56 kW and 1 234.5 kWh."""
    device = {f"1.3.6.1.4.1.318.1.1.26.4.3.1.{column}.1": count for column, count in ((5, 456), (9, 12_345))}
    serving = responding({"rack": records(device)})
    agent = serving.__enter__()
    atexit.register(serving.__exit__, None, None, None)
    return agent


@functools.cache
def community_file(community: str) -> str:
    """Return the path of a file with *community*, as the source wants its secrets; it lasts as long as this process."""
    handle, path = tempfile.mkstemp(prefix="firmwatt-community-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{community}\n")
    atexit.register(Path(path).unlink)
    return path


def _start(folder: Path, port: int) -> Agent:
    command = [sys.executable, "-c", LAUNCH, f"--data-dir={folder}", f"--cache-dir={folder / 'cache'}"]
    command += [f"--agent-udpv4-endpoint=127.0.0.1:{port}", "--quiet", f"--v3-user={USER}"]
    command += [f"--v3-auth-key={AUTH_KEY}", f"--v3-auth-proto={AUTH}"]
    command += [f"--v3-priv-key={PRIV_KEY}", f"--v3-priv-proto={PRIV}"]
    command += [f"--v3-user={OPEN_USER}", f"--v3-auth-key={AUTH_KEY}", f"--v3-auth-proto={AUTH}"]
    with (folder / "log").open("wb") as log:
        # it otherwise refuses to run as root, and cannot read a folder of ours as anybody else
        environment = os.environ | {"SNMPSIM_ALLOW_ROOT": "true"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    agent = Agent(port, process)
    deadline = time.monotonic() + START_S
    while not asyncio.run(_answers(port)):
        if process.poll() is not None or time.monotonic() > deadline:
            agent.stop()
            raise RuntimeError(f"snmpsim does not answer: {(folder / 'log').read_text(encoding='utf-8')[-2000:]}")
    return agent


def silent_port() -> int:
    """Return a port where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answers(port: int) -> bool:
    """Return whether a v3 discovery is answered within a second: no record and no key is needed for that."""
    from pysnmp.hlapi.v3arch import asyncio as hlapi  # type: ignore[import-untyped]  # pysnmp ships no types

    engine = hlapi.SnmpEngine()
    try:
        target = await hlapi.UdpTransportTarget.create(("127.0.0.1", port), timeout=1, retries=0)
        user = hlapi.UsmUserData("nobody", authKey=AUTH_KEY)
        failure, *_ = await hlapi.get_cmd(engine, user, target, hlapi.ContextData(), lookupMib=False)
        return type(failure).__name__ == "UnknownUserName"
    finally:
        engine.close_dispatcher()
