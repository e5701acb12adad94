"""Files that hold secrets: who may read them, what is in them, and that the secret does not show."""

import re
from pathlib import Path

import pytest

from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.secret_files import Secret


def secret_file(folder: Path, text: str = "hunter2\n", mode: int = 0o600) -> Path:
    """Return a file with *text* and *mode*."""
    file = folder / "secret"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owners_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert secret_files.read(secret_file(tmp_path, mode=mode)).reveal() == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
def test_a_file_that_anybody_else_may_touch_is_refused_and_the_remedy_named(tmp_path: Path, mode: int) -> None:
    file = secret_file(tmp_path, mode=mode)

    with pytest.raises(ConfigError, match=rf"has mode {mode:04o}: `chmod 600 {re.escape(str(file))}`$"):
        secret_files.read(file)


def test_the_mode_is_that_of_the_file_behind_a_link(tmp_path: Path) -> None:
    """A link's own mode is 0777 and means nothing; secrets of an orchestrator come as links."""
    link = tmp_path / "link"
    link.symlink_to(secret_file(tmp_path))

    assert secret_files.read(link).reveal() == "hunter2"

    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        secret_files.read(link)


@pytest.mark.parametrize("text", ["hunter2", "hunter2\r\n", "  hunter2 \n", "hunter2\na comment\n"])
def test_the_secret_is_the_first_line_without_the_space_around_it(tmp_path: Path, text: str) -> None:
    assert secret_files.read(str(secret_file(tmp_path, text))).reveal() == "hunter2"


@pytest.mark.parametrize("text", ["", "\n", "  \n", "\nhunter2\n"])
def test_an_empty_first_line_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="its first line is empty"):
        secret_files.read(secret_file(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the secret in .*/nowhere: No such file or directory"):
        secret_files.read(tmp_path / "nowhere")


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the secret in .*: Is a directory"):
        secret_files.read(tmp_path)


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    file.write_bytes(b"\xff\xfe\x00h")

    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        secret_files.read(file)


def test_a_secret_does_not_show_itself() -> None:
    """Not printed, formatted, in a container's repr, nor in the message of a refusal."""
    secret = Secret("hunter2")

    shown = f"{secret} {secret!r} {[secret]} %s" % secret

    assert "hunter2" not in shown
    assert "Secret(…)" in shown


def test_a_refusal_does_not_show_the_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        secret_files.read(secret_file(tmp_path, mode=0o644))

    assert "hunter2" not in str(refused.value)
