"""
Labels of this node's pods, from the Kubernetes API: metadata only, one page, the token read anew for each question.

The service account needs `list` on pods. Its token must be a file that nobody else may read: the kubelet projects it
with mode 0600 if all containers of the pod run as one `runAsUser`, with 0644 if not (KEP-1205, file permission).
"""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec

from collectors import SourceError
from collectors.http import Endpoint
from pipeline import secret_files
from pipeline.errors import ConfigError

METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Asks for names and labels without the pods around them (Kubernetes API concepts, metadata-only fetches)."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

PodName = tuple[str, str]
"""Namespace and name."""


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    labels: dict[str, str] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata


class _Pods(msgspec.Struct):
    items: list[_Pod]


class KubeApi:
    """One API server, asked about one node."""

    def __init__(self, url: str, node: str, *, token_file: str, ca_file: str, timeout_s: float) -> None:
        """Raise `ConfigError` for settings that would show the token to others; connect to nothing yet."""
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise ConfigError(f"api {url!r} is not https:// and not on this machine: pods would be read unencrypted")
        self._url = url.rstrip("/")
        self._path = f"{parts.path.rstrip('/')}/api/v1/pods?fieldSelector={quote(f'spec.nodeName={node}', safe='')}"
        self._node = node
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    def labels(self) -> Mapping[PodName, Mapping[str, str]]:
        """Return the labels of the node's pods; raise `SourceError` that says what to do."""
        try:
            token = secret_files.read(self._token_file) if self._token_file else None
        except ConfigError as error:
            raise SourceError(str(error)) from error
        bearer = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
        endpoint = Endpoint(
            self._url,
            headers={"Accept": METADATA, **bearer},
            timeout_s=self._timeout_s,
            ca_file=self._ca_file,
        )
        try:
            page = endpoint.get(self._path)
        finally:
            endpoint.close()
        if remedy := {
            401: f"the token in {self._token_file or 'token_file'} is not accepted",
            403: "the service account may not list pods: give it a ClusterRole with get and list on pods",
        }.get(page.status):
            raise SourceError(f"{self._url}: {remedy}")
        if page.status != 200:  # noqa: PLR2004 - HTTP's OK
            raise SourceError(f"{self._url}: status {page.status} for the pods of {self._node}")
        try:
            pods = msgspec.json.decode(page.body, type=_Pods)
        except msgspec.DecodeError as error:
            raise SourceError(f"{self._url} answered no list of pods: {error}") from error
        return {(pod.metadata.namespace, pod.metadata.name): pod.metadata.labels or {} for pod in pods.items}
