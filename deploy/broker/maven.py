"""
What Maven's ``settings.xml`` and the environment say about reaching a repository. Pure but for `load`.

Maven reads its settings itself. They are read here for the resolver that works without Maven, and to know whether
Maven would find its way out: it ignores the proxy variables that everything else on a machine obeys.
"""

import os
import re
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

#: Where distributions keep the system's certificate authorities, for a Python that was built with another idea:
#: Debian and its kin, Fedora and its kin, SUSE, Alpine.
CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True)
class Settings:
    """The part of ``settings.xml`` that decides where jars come from (Maven Settings Reference 1.2.0)."""

    mirror: str | None = None
    """URL that stands in for the central repository."""
    proxy: str | None = None
    """URL of the active proxy, with its credentials."""
    no_proxy: str | None = None
    """Hosts reached directly, comma-separated."""
    local_repository: Path | None = None


def parse(text: str, variables: Mapping[str, str]) -> Settings:
    """Read ``settings.xml``; ``${env.NAME}`` and the like come from *variables*. Raise `ValueError` on other texts."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - the user's own file, read with the user's rights
    except ET.ParseError as error:
        raise ValueError(str(error)) from error
    mirrors = (_fields(element, variables) for element in root.iterfind("{*}mirrors/{*}mirror"))
    proxies = (_fields(element, variables) for element in root.iterfind("{*}proxies/{*}proxy"))
    local = _fields(root, variables).get("localRepository")
    proxy = next((proxy for proxy in proxies if proxy.get("active", "true") == "true" and "host" in proxy), {})
    return Settings(
        mirror=next((m["url"] for m in mirrors if "url" in m and mirrors_central(m.get("mirrorOf", ""))), None),
        proxy=_proxy_url(proxy) if proxy else None,
        no_proxy=proxy["nonProxyHosts"].replace("|", ",").replace("*.", ".") if "nonProxyHosts" in proxy else None,
        local_repository=Path(local).expanduser() if local else None,
    )


def _fields(element: ET.Element, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the children of *element* by tag, without namespaces, with ``${…}`` filled in."""

    def fill(match: re.Match[str]) -> str:
        return variables.get(match[1], match[0])

    return {
        child.tag.rpartition("}")[2]: re.sub(r"\$\{([^}]+)\}", fill, child.text.strip())
        for child in element
        if child.text and child.text.strip()
    }


def mirrors_central(mirror_of: str) -> bool:
    """Tell whether a mirror of *mirror_of* stands in for the central repository ("Using Mirrors" guide of Maven)."""
    words = [word.strip() for word in mirror_of.split(",")]
    return "!central" not in words and bool({"central", "*", "external:*"} & set(words))


def _proxy_url(proxy: Mapping[str, str]) -> str:
    user = quote(proxy.get("username", ""), safe="")
    password = quote(proxy.get("password", ""), safe="")
    return f"http://{user + ':' + password + '@' if user else ''}{proxy['host']}:{proxy.get('port', '8080')}"


def load(home: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings of the user whose home folder is *home*; no file or a broken one says nothing."""
    variables = {f"env.{name}": value for name, value in environment.items()} | {"user.home": str(home)}
    try:
        return parse((home / ".m2" / "settings.xml").read_text(encoding="utf-8"), variables)
    except (OSError, ValueError):
        return Settings()


def only_variables_know_the_proxy(settings: Settings, environment: Mapping[str, str]) -> bool:
    """Tell whether the way out is known from the environment only, so that Maven would not find it."""
    return settings.proxy is None and settings.mirror is None and any(map(environment.get, PROXY_VARIABLES))


def environment_for_requests(
    settings: Settings, environment: Mapping[str, str], bundles: Iterable[str]
) -> dict[str, str]:
    """
    Return *environment* completed for a program that uses `requests`.

    Nothing the user set is overridden. Without a word from the user the authorities of the system are trusted (the
    first of *bundles*) in place of the list that `requests` brings: a company's own authority is in the former alone.
    """
    added: dict[str, str] = {}
    if not any(map(environment.get, PROXY_VARIABLES)) and settings.proxy:
        added |= {"HTTPS_PROXY": settings.proxy, "HTTP_PROXY": settings.proxy}
        if settings.no_proxy and not (environment.get("NO_PROXY") or environment.get("no_proxy")):
            added["NO_PROXY"] = settings.no_proxy
    bundle = environment.get("SSL_CERT_FILE") or next(iter(bundles), None)
    if not any(map(environment.get, CA_VARIABLES)) and bundle:
        added["REQUESTS_CA_BUNDLE"] = bundle
    return {**environment, **added}


def system_bundles() -> list[str]:
    """Return the files with the system's certificate authorities that exist here, best first."""
    default = ssl.get_default_verify_paths().cafile
    return [path for path in (*CA_BUNDLES, default) if path and os.path.isfile(path)]  # noqa: PTH113 - strings in, strings out


def pom(coordinates: Iterable[tuple[str, str, str]]) -> str:
    """Return a project that needs exactly the jars of *coordinates* and nothing they need in turn."""
    needs = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>"
        for group, artifact, version in coordinates
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>firmwatt</groupId><artifactId>broker</artifactId><version>1</version>"
        f"<dependencies>{needs}</dependencies></project>\n"
    )
