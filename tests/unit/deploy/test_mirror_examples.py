"""The two examples of a mirror, for one machine and for Strimzi, are valid and say the same."""

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import acl_rules
from deploy.broker.acl_rules import Kind, Operation
from deploy.broker.mirror_properties import exactly, render
from deploy.broker.mirror_settings import Mirror, upward
from pipeline.settings import check_tables, load

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
STRIMZI = EXAMPLES / "mirror-maker.yaml"

yaml: Any = importlib.import_module("yaml")  # it comes with yamllint, and without types


@pytest.fixture(scope="module")
def mirror() -> Mirror:
    check_tables(EXAMPLES / "mirror.toml")
    return load(EXAMPLES / "mirror.toml", "mirror", Mirror)


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(STRIMZI.read_text(encoding="utf-8"))
    assert (document["apiVersion"], document["kind"]) == ("kafka.strimzi.io/v1", "KafkaMirrorMaker2")
    found: dict[str, Any] = document["spec"]
    return found


def test_the_resource_is_clean_yaml() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", str(STRIMZI)],
        cwd=EXAMPLES.parents[1],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout


def test_both_mirror_the_same_topics_of_the_same_sites_to_the_same_cluster(
    mirror: Mirror, spec: Mapping[str, Any]
) -> None:
    assert spec["target"]["alias"] == mirror.target.name
    assert {one["source"]["alias"]: one["topicsPattern"] for one in spec["mirrors"]} == {
        link.source.name: exactly(link.topics) for link in upward(mirror)
    }


def test_what_one_sets_the_other_sets_alike(mirror: Mirror, spec: Mapping[str, Any]) -> None:
    """The names are those of MirrorMaker in both; what only one machine needs is left out of the resource."""
    told = render(mirror, Path("/data/secrets.properties"))

    for one in spec["mirrors"]:
        link = f"{one['source']['alias']}->portfolio."
        for name, value in {**one["sourceConnector"]["config"], **one["checkpointConnector"]["config"]}.items():
            assert str(value) == told.get(link + name, told.get(name)), name
    for name, value in spec["target"]["config"].items():
        assert str(value) == told[f"portfolio.{name}"], name


def test_every_connection_is_encrypted_and_proves_who_it_is(spec: Mapping[str, Any]) -> None:
    for cluster in (spec["target"], *(one["source"] for one in spec["mirrors"])):
        assert cluster["tls"]["trustedCertificates"]
        assert cluster["authentication"]["type"] in {"scram-sha-512", "tls"}


def test_the_portfolios_rules_let_the_mirror_into_its_group_and_its_books(
    mirror: Mirror, spec: Mapping[str, Any]
) -> None:
    """One group serves all sites here, where the command of one machine has one a site."""
    role = acl_rules.mirror_to_portfolio(site.name for site in mirror.source)
    groups = {rule.name for rule in role.rules if rule.kind is Kind.GROUP and Operation.READ in rule.operations}
    (books,) = (rule.name for rule in role.rules if rule.prefixed and Operation.CREATE in rule.operations)

    assert spec["target"]["groupId"] in groups
    assert groups == {spec["target"]["groupId"], "site-1-mm2", "site-2-mm2"}
    for name in ("configStorageTopic", "offsetStorageTopic", "statusStorageTopic"):
        assert spec["target"][name].startswith(books)
