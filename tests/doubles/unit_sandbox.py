"""
Run a command under a systemd unit's own system-call rules, where no systemd runs.

    python unit_sandbox.py deploy/systemd/firmwatt-collect.service COMMAND [ARGUMENT …]

What is put in force is what systemd 252 makes of SystemCallFilter=, SystemCallErrorNumber=EPERM,
RestrictAddressFamilies=, RestrictNamespaces=, MemoryDenyWriteExecute= and NoNewPrivileges=, by the same library
(libseccomp) and in the same words (systemd.exec(5)); the sets' members are asked of `systemd-analyze syscall-filter`.
Files, devices and users are the caller's: those no system call tells.
"""

import ctypes
import ctypes.util
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL, GREATER, MASKED_EQUAL = 4, 6, 7
"""`enum scmp_compare` of libseccomp."""
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
LAST_FAMILY = 45
"""Highest address family of Linux 6 (AF_MCTP)."""


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def library() -> ctypes.CDLL | None:
    """Return libseccomp, which systemd brings along; None where it is not."""
    name = ctypes.util.find_library("seccomp")
    if name is None:
        return None
    found = ctypes.CDLL(name)
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_load.argtypes = [ctypes.c_void_p]
    found.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    found.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Compare),
    ]
    return found


def settings(unit: Path, key: str) -> list[str]:
    """Return what *unit* sets *key* to, line by line."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2].strip() for line in lines if line.startswith(f"{key}=")]


def members(name: str) -> set[str]:
    """Return the system calls of a set such as ``@system-service``, those of the sets within it included."""
    if not name.startswith("@"):
        return {name}
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True
    ).stdout
    words = [line.strip() for line in told.splitlines()[1:]]
    return set().union(*(members(word) for word in words if word and not word.startswith("#")))


def allowed(unit: Path) -> set[str]:
    """Return the system calls that *unit* may make: an allow-list first, later lines with ``~`` take away from it."""
    calls: set[str] = members("@default")  # execve and what a process cannot be without are always in
    for line in settings(unit, "SystemCallFilter"):
        named = set().union(*(members(word) for word in line.removeprefix("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


class Filter:
    """One seccomp filter; a call must pass all that are loaded."""

    def __init__(self, seccomp: ctypes.CDLL, otherwise: int) -> None:
        self._seccomp = seccomp
        self._context = seccomp.seccomp_init(otherwise)

    def add(self, call: str, action: int, *when: Compare) -> None:
        """Let *call* end with *action*, if all of *when* hold; calls that do not exist here are passed over."""
        number = self._seccomp.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        code = self._seccomp.seccomp_rule_add_array(
            self._context, action, number, len(when), (Compare * len(when))(*when)
        )
        if code:
            raise OSError(-code, f"{call}: {os.strerror(-code)}")

    def load(self) -> None:
        """Put it in force, for good; no_new_privs comes with it."""
        if code := self._seccomp.seccomp_load(self._context):
            raise OSError(-code, os.strerror(-code))


def confine(unit: Path, seccomp: ctypes.CDLL) -> None:
    """Put the rules of *unit* in force for this process and all that it becomes."""
    calls = allowed(unit)  # asks systemd-analyze, which would not pass
    families = {getattr(socket, name) for line in settings(unit, "RestrictAddressFamilies") for name in line.split()}
    refused = ERRNO | errno.EPERM
    if settings(unit, "MemoryDenyWriteExecute") == ["yes"]:
        memory = Filter(seccomp, ALLOW)
        both = PROT_WRITE | PROT_EXEC
        memory.add("mmap", refused, Compare(2, MASKED_EQUAL, both, both))
        memory.add("mprotect", refused, Compare(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
        memory.add("pkey_mprotect", refused, Compare(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
        memory.add("shmat", refused, Compare(2, MASKED_EQUAL, SHM_EXEC, SHM_EXEC))
        memory.load()
    if settings(unit, "RestrictNamespaces") == ["yes"]:
        namespaces = Filter(seccomp, ALLOW)
        namespaces.add("setns", refused)
        namespaces.add("clone3", ERRNO | errno.ENOSYS)  # its flags lie in memory: libc takes clone instead
        for flag in NAMESPACES:
            namespaces.add("unshare", refused, Compare(0, MASKED_EQUAL, flag, flag))
            namespaces.add("clone", refused, Compare(0, MASKED_EQUAL, flag, flag))
        namespaces.load()
    if families:
        network = Filter(seccomp, ALLOW)
        unknown = ERRNO | errno.EAFNOSUPPORT
        for family in set(range(LAST_FAMILY + 1)) - families:
            network.add("socket", unknown, Compare(0, EQUAL, family, 0))
        network.add("socket", unknown, Compare(0, GREATER, LAST_FAMILY, 0))
        network.load()
    listed = Filter(seccomp, refused)
    for call in sorted(calls):
        listed.add(call, ALLOW)
    listed.load()


if __name__ == "__main__":
    found = library()
    if found is None:
        sys.exit("unit_sandbox: no libseccomp")
    confine(Path(sys.argv[1]), found)
    os.execv(sys.argv[2], sys.argv[2:])
