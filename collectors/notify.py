"""What a service manager is told, by the protocol of sd_notify(3): one datagram a word; nothing where none listens."""

import os
import socket


class Manager:
    """The service manager that started this process, if there is one."""

    def __init__(self) -> None:
        """Find it by ``NOTIFY_SOCKET``, which is taken away so that no child speaks for us."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def say(self, *words: str) -> None:
        """Tell it *words*, such as ``READY=1``; a manager that has gone is no reason to stop."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            try:
                line.sendto("\n".join(words).encode(), self._address)
            except OSError:
                return
