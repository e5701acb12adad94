"""
WS-Security as ERCOT wants it: the SOAP body signed with the certificate that travels in front of it.

    Envelope
      Header / Security
        BinarySecurityToken   the signer's X.509 certificate
        Timestamp             signed
        Signature             over Body, Timestamp and the reference to the certificate
      Body                    signed, and nothing else of a message is ever read

RSA with SHA-256 is what we sign with; ERCOT takes it, and says that it signs its own messages with RSA and SHA-1
(*Services Organization*, Secure SOAP messages). A SHA-1 signature is believed only where settings say so. What is read
of a message is parsed again from the very bytes that were digested, so that nothing unsigned can stand in for it.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from bidding.markets.ercot.keys import Signer, Trust
from bidding.markets.ercot.names import DS, SOAP, WSSE, WSU, clark
from bidding.markets.ercot.xml import Element, children, find, name, one_line, parse, required
from pipeline.errors import VenueError

EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA1, SHA256, SHA512 = hashes.SHA1(), hashes.SHA256(), hashes.SHA512()  # noqa: S303 - ERCOT's, and only where allowed
SIGNATURES: dict[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2000/09/xmldsig#rsa-sha1": SHA1,
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": SHA256,
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512": SHA512,
}
DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2000/09/xmldsig#sha1": SHA1,
    "http://www.w3.org/2001/04/xmlenc#sha256": SHA256,
    "http://www.w3.org/2001/04/xmlenc#sha512": SHA512,
}
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
DIGEST_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
TOKEN_PROFILE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"  # noqa: S105
BASE64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
VALID_FOR = timedelta(minutes=5)
"""Between a message's creation and its expiry; ours, ERCOT publishes no figure."""
ID = clark(WSU, "Id")
PREFIXES = {"soap": SOAP, "wsse": WSSE, "wsu": WSU, "ds": DS}
MAX_REFERENCES = 10


def sign(body: Element, signer: Signer, now: datetime) -> bytes:
    """Return the SOAP message whose body is *body*, signed; *body* is moved into it."""
    envelope = etree.Element(clark(SOAP, "Envelope"), nsmap=PREFIXES)
    header = etree.SubElement(envelope, clark(SOAP, "Header"))
    security = etree.SubElement(header, clark(WSSE, "Security"), {clark(SOAP, "mustUnderstand"): "1"})
    token = etree.SubElement(
        security, clark(WSSE, "BinarySecurityToken"), {"EncodingType": BASE64, "ValueType": TOKEN_PROFILE, ID: "token"}
    )
    token.text = base64.b64encode(signer.certificate.public_bytes(serialization.Encoding.DER)).decode()
    timestamp = etree.SubElement(security, clark(WSU, "Timestamp"), {ID: "timestamp"})
    etree.SubElement(timestamp, clark(WSU, "Created")).text = _utc(now)
    etree.SubElement(timestamp, clark(WSU, "Expires")).text = _utc(now + VALID_FOR)
    signature = etree.SubElement(security, clark(DS, "Signature"))
    info = etree.SubElement(signature, clark(DS, "SignedInfo"))
    value = etree.SubElement(signature, clark(DS, "SignatureValue"))
    pointer = _pointer(etree.SubElement(signature, clark(DS, "KeyInfo")))
    holder = etree.SubElement(envelope, clark(SOAP, "Body"), {ID: "body"})
    holder.append(body)

    etree.SubElement(info, clark(DS, "CanonicalizationMethod"), {"Algorithm": EXCLUSIVE})
    etree.SubElement(info, clark(DS, "SignatureMethod"), {"Algorithm": RSA_SHA256})
    for signed in (holder, timestamp, pointer):
        _refer(info, signed)
    seal = signer.key.sign(_canonical(info), padding.PKCS1v15(), SHA256)
    value.text = base64.b64encode(seal).decode()
    return etree.tostring(envelope, encoding="UTF-8", xml_declaration=True)


def verify(message: bytes, trust: Trust, now: datetime) -> Element:
    """
    Return what the signed body of *message* holds, read from the bytes that were signed.

    Raise `VenueError` for a message that is unsigned, signed by somebody else, or altered.
    """
    envelope = parse(message)
    header, body = _parts(envelope)
    security = _only(header, WSSE, "Security")
    signature = _only(security, DS, "Signature")
    info = _only(signature, DS, "SignedInfo")
    by_id = _ids(envelope)
    signer = _signer(_certificate(security, signature, by_id), trust, now)

    digested = [_digested(reference, by_id, trust) for reference in _references(info)]
    _check_seal(info, required(signature, "SignatureValue"), signer, trust)
    content = next((octets for element, octets in digested if element is body), None)
    if content is None:
        raise VenueError("the message's signature does not cover its body")
    return _content(parse(content))


def unsigned(message: bytes) -> Element:
    """Return what the body of *message* holds, nobody vouching for it: for faults, which may say why and no more."""
    return _content(_parts(parse(message))[1])


def _content(body: Element) -> Element:
    found = list(children(body))
    if len(found) != 1:
        raise VenueError(f"a SOAP body holds one element, not {len(found)}")
    return found[0]


def _parts(envelope: Element) -> tuple[Element, Element]:
    if envelope.tag != clark(SOAP, "Envelope"):
        raise VenueError(f"not a SOAP message but {one_line(name(envelope), 40)!r}")
    return _only(envelope, SOAP, "Header"), _only(envelope, SOAP, "Body")


def _only(parent: Element, namespace: str, tag: str) -> Element:
    """Return the one child called *tag*; two could each be believed by somebody else."""
    found = [child for child in children(parent, tag) if child.tag == clark(namespace, tag)]
    if len(found) != 1:
        raise VenueError(f"a signed message has one {tag}, not {len(found)}")
    return found[0]


def _ids(envelope: Element) -> dict[str, Element]:
    """Return all elements that can be referred to; an id given twice would leave open which one was signed."""
    found: dict[str, Element] = {}
    for element in envelope.iter():
        if not isinstance(element.tag, str):
            continue
        for key in (ID, "Id", "ID", "id"):
            given = element.get(key)
            if given is not None and found.setdefault(given, element) is not element:
                raise VenueError("two elements of a message have the same id")
    return found


def _certificate(security: Element, signature: Element, by_id: dict[str, Element]) -> x509.Certificate:
    """Return the certificate that the signature names, one that travels in the message."""
    reference = find(_pointed(_only(signature, DS, "KeyInfo")), "Reference")
    token = by_id.get("" if reference is None else (reference.get("URI") or "").removeprefix("#"))
    if token is None or token.tag != clark(WSSE, "BinarySecurityToken") or token.getparent() is not security:
        raise VenueError("the message's signature does not name a certificate in the message")
    try:
        return x509.load_der_x509_certificate(base64.b64decode("".join((token.text or "").split()), validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise VenueError("the message's certificate cannot be read") from error


def _pointed(key_info: Element) -> Element:
    return _only(key_info, WSSE, "SecurityTokenReference")


def _signer(certificate: x509.Certificate, trust: Trust, now: datetime) -> rsa.RSAPublicKey:
    """Return the key of *certificate* where an authority of ours issued it, to the right one, and it is in force."""
    if not any(_issued(certificate, authority) for authority in trust.authorities):
        raise VenueError("the message is signed by somebody whom none of the configured authorities vouches for")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise VenueError("the certificate that signed the message is not in force")
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if trust.signer and trust.signer not in names:
        raise VenueError(f"the message is signed by {one_line(names)}, not by {trust.signer}")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise VenueError("the message is signed with a key that is not RSA")
    return key


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _references(info: Element) -> list[Element]:
    found = list(children(info, "Reference"))
    if not 0 < len(found) <= MAX_REFERENCES:
        raise VenueError(f"a signature over {len(found)} parts is none of ERCOT's")
    return found


def _digested(reference: Element, by_id: dict[str, Element], trust: Trust) -> tuple[Element, bytes]:
    """Return the element that *reference* is about and its canonical bytes, once their digest is right."""
    element = by_id.get((reference.get("URI") or "").removeprefix("#"))
    transforms = find(reference, "Transforms")
    if element is None or transforms is None or len(chain := list(children(transforms))) != 1:
        raise VenueError("a part of the signature refers to nothing, or to something changed")
    octets = _canonical(element, _inclusive(chain[0]))
    algorithm = _allowed(_algorithm(reference, "DigestMethod"), DIGESTS, trust)
    digest = hashes.Hash(algorithm)
    digest.update(octets)
    if _decoded(required(reference, "DigestValue")) != digest.finalize():
        raise VenueError("the message was altered after it was signed: a digest does not match")
    return element, octets


def _check_seal(info: Element, seal: str, key: rsa.RSAPublicKey, trust: Trust) -> None:
    method = find(info, "CanonicalizationMethod")
    octets = _canonical(info, [] if method is None else _inclusive(method))
    algorithm = _allowed(_algorithm(info, "SignatureMethod"), SIGNATURES, trust)
    try:
        key.verify(_decoded(seal), octets, padding.PKCS1v15(), algorithm)
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise VenueError("the message's signature is not its certificate's") from error


def _inclusive(method: Element) -> list[str]:
    """Return the prefixes that exclusive canonicalisation *method* keeps; refuse any other method."""
    if method.get("Algorithm") != EXCLUSIVE:
        raise VenueError("the message's signature is not over exclusive canonical XML")
    listed = find(method, "InclusiveNamespaces")
    return [] if listed is None else (listed.get("PrefixList") or "").split()


def _algorithm(parent: Element, tag: str) -> str:
    found = find(parent, tag)
    return "" if found is None else found.get("Algorithm") or ""


def _allowed(uri: str, known: dict[str, hashes.HashAlgorithm], trust: Trust) -> hashes.HashAlgorithm:
    found = known.get(uri)
    if found is None or (found is SHA1 and not trust.sha1):
        raise VenueError(f"the message is signed with {one_line(uri, 80)!r}, which is not accepted here")
    return found


def _decoded(found: str) -> bytes:
    try:
        return base64.b64decode("".join(found.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise VenueError("the message's signature is not base64") from error


def _canonical(element: Element, inclusive: Sequence[str] = ()) -> bytes:
    try:
        return etree.tostring(
            element, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=list(inclusive)
        )
    except (etree.C14NError, ValueError) as error:
        raise VenueError(f"the message cannot be brought into canonical form: {one_line(error)}") from error


def _pointer(key_info: Element) -> Element:
    pointer = etree.SubElement(key_info, clark(WSSE, "SecurityTokenReference"), {ID: "signer"})
    etree.SubElement(pointer, clark(WSSE, "Reference"), {"URI": "#token", "ValueType": TOKEN_PROFILE})
    return pointer


def _refer(info: Element, signed: Element) -> None:
    reference = etree.SubElement(info, clark(DS, "Reference"), {"URI": f"#{signed.get(ID)}"})
    transforms = etree.SubElement(reference, clark(DS, "Transforms"))
    etree.SubElement(transforms, clark(DS, "Transform"), {"Algorithm": EXCLUSIVE})
    etree.SubElement(reference, clark(DS, "DigestMethod"), {"Algorithm": DIGEST_SHA256})
    digest = base64.b64encode(sha256(_canonical(signed)).digest()).decode()
    etree.SubElement(reference, clark(DS, "DigestValue")).text = digest


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
