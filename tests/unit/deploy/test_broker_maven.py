"""`deploy.broker.maven`: where jars come from on a company's machine."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from deploy.broker.maven import (
    Settings,
    environment_for_requests,
    load,
    mirrors_central,
    only_variables_know_the_proxy,
    parse,
    pom,
)

COMPANY = """
<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">
  <localRepository>${user.home}/maven</localRepository>
  <mirrors>
    <mirror><id>snapshots</id><mirrorOf>company-snapshots</mirrorOf><url>https://other.invalid</url></mirror>
    <mirror><id>all</id><mirrorOf>*</mirrorOf><url>https://mirror.invalid/maven</url></mirror>
  </mirrors>
  <proxies>
    <proxy><active>false</active><host>old.invalid</host><port>1</port></proxy>
    <proxy>
      <active>true</active><host>proxy.invalid</host><port>3128</port>
      <username>ann</username><password>${env.PROXY_PASSWORD}</password>
      <nonProxyHosts>localhost|*.company.invalid</nonProxyHosts>
    </proxy>
  </proxies>
</settings>
"""


def test_the_mirror_of_everything_and_the_active_proxy_are_taken() -> None:
    """An at sign in a password would end it in a URL, so it is written %40."""
    assert parse(COMPANY, {"user.home": "/home/ann", "env.PROXY_PASSWORD": "p@ss"}) == Settings(
        mirror="https://mirror.invalid/maven",
        proxy="http://ann:p%40ss@proxy.invalid:3128",
        no_proxy="localhost,.company.invalid",
        local_repository=Path("/home/ann/maven"),
    )


@pytest.mark.parametrize(
    ("mirror_of", "stands_in"),
    [
        ("central", True),
        ("*", True),
        ("external:*", True),
        ("company, central", True),
        ("*,!central", False),
        ("company", False),
        ("", False),
    ],
)
def test_which_mirrors_stand_in_for_central(mirror_of: str, stands_in: bool) -> None:  # noqa: FBT001 - a table
    assert mirrors_central(mirror_of) is stands_in


def test_settings_without_namespace_are_read_too() -> None:
    assert parse("<settings><localRepository>/m</localRepository></settings>", {}) == Settings(
        local_repository=Path("/m")
    )


def test_a_broken_or_absent_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / ".m2").mkdir()
    assert load(tmp_path, {}) == Settings()

    (tmp_path / ".m2" / "settings.xml").write_text("<settings>")
    assert load(tmp_path, {}) == Settings()


def test_the_proxy_of_the_settings_is_used_where_no_variable_names_one() -> None:
    settings = Settings(proxy="http://proxy.invalid:1", no_proxy="localhost")

    assert environment_for_requests(settings, {"PATH": "/bin"}, []) == {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy.invalid:1",
        "HTTP_PROXY": "http://proxy.invalid:1",
        "NO_PROXY": "localhost",
    }


def test_what_the_user_set_is_never_overridden() -> None:
    own = {"https_proxy": "http://own.invalid", "REQUESTS_CA_BUNDLE": "/own.pem"}

    assert environment_for_requests(Settings(proxy="http://proxy.invalid:1"), own, ["/system.pem"]) == own


@pytest.mark.parametrize(("own", "trusted"), [({}, "/system.pem"), ({"SSL_CERT_FILE": "/openssl.pem"}, "/openssl.pem")])
def test_the_system_says_whom_to_trust_unless_the_user_does(own: dict[str, str], trusted: str) -> None:
    completed = environment_for_requests(Settings(), own, ["/system.pem", "/other.pem"])

    assert completed["REQUESTS_CA_BUNDLE"] == trusted


def test_maven_goes_second_only_where_it_would_not_find_the_proxy() -> None:
    variables = {"HTTPS_PROXY": "http://proxy.invalid"}

    assert only_variables_know_the_proxy(Settings(), variables)
    assert not only_variables_know_the_proxy(Settings(proxy="http://proxy.invalid"), variables)
    assert not only_variables_know_the_proxy(Settings(), {"HTTPS_PROXY": ""})


def test_the_project_for_maven_asks_for_each_jar_alone() -> None:
    project = ET.fromstring(pom([("g", "a", "1"), ("g", "b", "2")]))

    needs = project.findall("{*}dependencies/{*}dependency")
    assert [need.findtext("{*}artifactId") for need in needs] == ["a", "b"]
    assert all(need.findtext("{*}exclusions/{*}exclusion/{*}artifactId") == "*" for need in needs)
