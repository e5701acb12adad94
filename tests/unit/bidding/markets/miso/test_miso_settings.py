"""What `[venue.miso]` may say, and what is told when it cannot work: before anything is sent."""

from pathlib import Path

import pytest
from doubles.miso import pki

from bidding.markets.miso import connect
from pipeline.clock import Clock
from pipeline.errors import ConfigError

RESOURCE = '[[venue.miso.resource]]\nname = "A"\ntype = "drr1"'
GOOD = """
[venue.miso]
url = "https://127.0.0.1:1"
participant = "FIRMWATT"
certificate_file = "{folder}/client.pem"
key_file = "{folder}/client.key"
ca_file = "{folder}/ca.pem"
[[venue.miso.resource]]
name = "AIFAC.DRR1"
type = "drr1"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pki.make(tmp_path, "FIRMWATT")
    return tmp_path


async def opened(folder: Path, text: str) -> None:
    path = folder / "firmwatt.toml"
    path.write_text(text.replace("{folder}", str(folder)), encoding="utf-8")
    await (await connect(path, Clock())).close()


async def test_good_settings_connect_without_a_venue_in_sight(folder: Path) -> None:
    await opened(folder, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"FIRMWATT"', '""', "participant is missing"),
        ('"FIRMWATT"', '"FIRM WATT"', "participant"),
        ("https://127.0.0.1:1", "ftp://127.0.0.1", "does not start with https://"),
        ("https://127.0.0.1:1", "https://", "does not start with https://"),
        ("https://127.0.0.1:1", "http://markets.midwestiso.org", "by https:// only"),
        ("https://127.0.0.1:1", "https://[::1", "url"),
        ('certificate_file = "{folder}/client.pem"\n', "", "MISO knows us by our certificate"),
        ("client.key", "server.key", "cannot be used together"),
        ("client.key", "nothing.key", "cannot read key_file"),
        ("client.pem", "ca.key", "cannot be used together"),
        ("ca.pem", "client.key", "ca_file"),
        ("drr1", "drr3", "drr3"),
        ("AIFAC.DRR1", "A" * 31, "name"),
        ('type = "drr1"', 'type = "drr1"\nmin_interruption = "1h"', "min_interruption"),
        ('type = "drr1"', 'type = "drr1"\nshutdown_cost = 1.005', "shutdown_cost must be a multiple of 0.01"),
        ('type = "drr1"', 'type = "drr2"\nmax_mw = 1.05', "max_mw must be a multiple of 0.1"),
        ('type = "drr1"', 'type = "drr1"\nramp = 1', "unknown key 'ramp'"),
        ('type = "drr1"', f'type = "drr1"\n{RESOURCE}\n{RESOURCE}', "'A' is there twice"),
        (GOOD[GOOD.index("[[") :], "", "has no resource"),
    ],
)
async def test_what_cannot_work_is_said_in_one_line(folder: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD

    with pytest.raises(ConfigError, match=r"^[^\n]+$") as caught:
        await opened(folder, GOOD.replace(old, new, 1))

    assert told in str(caught.value)


async def test_a_key_that_others_may_read_is_refused(folder: Path) -> None:
    (folder / "client.key").chmod(0o640)

    with pytest.raises(ConfigError, match="has mode 0640, must be 0600; run chmod 600"):
        await opened(folder, GOOD)
