"""The file of the dispatchers' public keys, read again when it has changed: keys are rotated without a restart."""

import logging
import stat
from pathlib import Path

from collectors.admit import Keyring
from pipeline.errors import ConfigError

log = logging.getLogger(__name__)


class Keys:
    """One keyring and the file it comes from."""

    def __init__(self, path: Path) -> None:
        """Read the file at *path*; `ConfigError` where it holds no keys or others may write to it."""
        self._path = path
        self._stamp = self._stamped()
        self._ring = self._read()

    def ring(self) -> Keyring:
        """Return the keys as the file has them now; as it had them last while it makes no sense."""
        stamp = self._stamped()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._ring = self._read()
                log.info("keyring read again: %s", self._path)
            except ConfigError as error:
                log.error("the keyring stays as it was: %s", error)  # noqa: TRY400 - one line says it
        return self._ring

    def _read(self) -> Keyring:
        ring = Keyring.load(self._path)
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except OSError as error:  # removed since
            raise ConfigError(f"cannot read {self._path}: {error.strerror}") from error
        if not ring:
            raise ConfigError(f"{self._path} holds no keys")
        if mode & 0o022:
            raise ConfigError(
                f"{self._path} says whom to obey, and others may change it (mode {mode:04o}): `chmod go-w {self._path}`"
            )
        return ring

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class Nobody:
    """No keys at all, and the mistake because of which: what an earlier run has left is let go of without any."""

    def __init__(self, mistake: ConfigError) -> None:
        self.mistake = mistake

    def ring(self) -> Keyring:
        """Return a keyring that verifies nothing."""
        return Keyring({})
