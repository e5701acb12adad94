"""A Kubernetes API server as far as pods of one node go: real HTTPS with a certificate of its own, tokens checked."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.clock import Clock

Labels = dict[str, str]


@dataclass
class KubeApi:
    """Its pods by (node, namespace, name), and what it was asked."""

    folder: Path
    token: str = "the-token"
    pods: dict[tuple[str, str, str], Labels] = field(default_factory=dict)
    status: int = 200
    body: bytes | None = None
    """What it answers in place of the pods."""
    calls: int = 0
    url: str = ""

    @property
    def ca_file(self) -> Path:
        """The certificate that vouches for it."""
        return self.folder / "ca.crt"

    def answer(self, target: str, authorization: str | None, accept: str | None) -> tuple[int, bytes]:
        """Return status and body for one GET."""
        self.calls += 1
        asked = urlsplit(target)
        if authorization != f"Bearer {self.token}":
            return 401, b"{}"
        if self.status != 200 or asked.path != "/api/v1/pods" or "PartialObjectMetadataList" not in (accept or ""):
            return self.status if self.status != 200 else 404, b"{}"
        (selector,) = parse_qs(asked.query)["fieldSelector"]
        items = [
            {"metadata": {"namespace": namespace, "name": name, "uid": "u", **({"labels": labels} if labels else {})}}
            for (node, namespace, name), labels in self.pods.items()
            if selector == f"spec.nodeName={node}"
        ]
        return 200, self.body or json.dumps({"kind": "PartialObjectMetadataList", "items": items}).encode()

    @contextmanager
    def running(self) -> Iterator["KubeApi"]:
        """Listen for as long as the block runs."""
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = double.answer(self.path, self.headers["Authorization"], self.headers["Accept"])
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_certificate(self.folder))
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            self.url = f"https://127.0.0.1:{server.server_address[1]}"
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that vouches for itself; return it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = Clock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "ca.crt", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
