"""The file of the dispatchers' public keys, read again while an actuator runs."""

import logging
import os
import stat
from pathlib import Path

import pytest
from doubles.commands import KEY_2, KEY_ID, KEY_ID_2, PUBLIC, PUBLIC_2, cap, keyring_text, lease, signed

from collectors.keys import Keys
from pipeline import files
from pipeline.errors import ConfigError

OLD, NEW = signed(lease(1, cap(400))), signed(lease(1, cap(400)), KEY_2, KEY_ID_2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that holds the first key."""
    path = tmp_path / "keys.toml"
    path.write_text(keyring_text({KEY_ID: PUBLIC}))
    path.chmod(0o644)
    return path


def obeys(keys: Keys) -> set[str]:
    """Return whom a host with *keys* obeys now."""
    ring = keys.ring()
    return {one.key_id for one in (OLD, NEW) if one.key_id in ring and ring.verifies(one)}


def test_the_file_is_read_once_while_it_does_not_change(path: Path) -> None:
    keys = Keys(path)

    assert keys.ring() is keys.ring()
    assert obeys(keys) == {KEY_ID}


def test_keys_are_rotated_by_changing_the_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first alone, both, the second alone: at every moment whoever is in the file is obeyed."""
    caplog.set_level(logging.INFO)
    keys = Keys(path)

    obeyed = [obeys(keys)]
    for ring in ({KEY_ID: PUBLIC, KEY_ID_2: PUBLIC_2}, {KEY_ID_2: PUBLIC_2}):
        files.replace(path, keyring_text(ring).encode())
        obeyed.append(obeys(keys))

    assert obeyed == [{KEY_ID}, {KEY_ID, KEY_ID_2}, {KEY_ID_2}]
    assert caplog.messages == [f"keyring read again: {path}"] * 2


def test_a_file_of_the_same_size_and_time_is_another_file(path: Path) -> None:
    """Put in its place by a rename, as `files.replace` and every configuration manager do."""
    keys, before = Keys(path), path.stat()
    beside = path.with_name("beside")
    beside.write_text(keyring_text({KEY_ID: PUBLIC_2}))
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))

    beside.rename(path)

    assert path.stat().st_size == before.st_size
    assert obeys(keys) == set()


NO_KEYRINGS = {
    "empty, as while somebody writes it": b"",
    "no TOML": b'dispatch = "',
    "no UTF-8": b"\xff\xfe",
    "no keys": b"dispatch = 5\n",
    "a short key": b'dispatch = "c2hvcnQ="\n',
    "one good key and one bad": keyring_text({KEY_ID: PUBLIC}).encode() + b'other = "c2hvcnQ="\n',
}


@pytest.mark.parametrize("content", NO_KEYRINGS.values(), ids=NO_KEYRINGS)
def test_a_file_that_makes_no_sense_changes_nothing(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, not with every command; and a good file is taken up again."""
    keys = Keys(path)

    path.write_bytes(content)
    obeyed = [obeys(keys) for _ in range(3)]
    files.replace(path, keyring_text({KEY_ID_2: PUBLIC_2}).encode())

    assert obeyed == [{KEY_ID}] * 3
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("the keyring stays as it was: ")
    assert obeys(keys) == {KEY_ID_2}


def test_a_file_that_is_gone_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = Keys(path)

    path.unlink()
    obeyed = [obeys(keys) for _ in range(3)]
    path.write_text(keyring_text({KEY_ID_2: PUBLIC_2}))

    assert obeyed == [{KEY_ID}] * 3
    assert len(caplog.messages) == 1
    assert obeys(keys) == {KEY_ID_2}


def test_a_file_that_goes_while_it_is_read_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text was there, its mode is not."""
    keys = Keys(path)
    files.replace(path, keyring_text({KEY_ID_2: PUBLIC_2}).encode())
    read_text = Path.read_text

    def last(self: Path, encoding: str | None = None) -> str:
        text = read_text(self, encoding)
        self.unlink()
        return text

    monkeypatch.setattr(Path, "read_text", last)

    assert obeys(keys) == {KEY_ID}


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    """Group or world; the message says what to type."""
    path.chmod(mode)

    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod go-w"):
        Keys(path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644])
def test_a_file_that_others_may_only_read_is_taken(path: Path, mode: int) -> None:
    """Public keys are no secret."""
    path.chmod(mode)

    assert obeys(Keys(path)) == {KEY_ID}


def test_a_new_file_that_others_may_write_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = Keys(path)
    beside = path.with_name("beside")
    beside.write_text(keyring_text({KEY_ID_2: PUBLIC_2}))
    beside.chmod(0o666)

    beside.rename(path)

    assert obeys(keys) == {KEY_ID}
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert "others may change it" in caplog.messages[0]


@pytest.mark.parametrize("content", ["", "# no keys yet\n", "{}"])
def test_a_keyring_without_keys_is_said_so_at_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / ("keys.json" if content == "{}" else "keys.toml")
    path.write_text(content)
    path.chmod(0o644)

    with pytest.raises(ConfigError, match="holds no keys"):
        Keys(path)


def test_a_keyring_that_is_not_there_is_said_so_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        Keys(tmp_path / "keys.toml")


def test_what_is_said_of_a_bad_key_does_not_repeat_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may be the secret half, put there by mistake: 33 bytes, since somebody copied a line end, too."""
    keys = Keys(path)
    secret = KEY_2.private_bytes_raw() + b"\n"

    path.write_text(keyring_text({KEY_ID: secret}))

    assert obeys(keys) == {KEY_ID}
    assert keyring_text({KEY_ID: secret}).split('"')[3][:12] not in caplog.text
    assert secret.hex()[:12] not in caplog.text
