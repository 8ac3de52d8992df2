"""Certificates for TLS: between the nodes of an instance, and from clients to instances.

Each instance has its own certificate authority for its nodes. They accept only peers with a certificate of that
authority, so no other process can join their cluster bus, replicate from them or receive their slots. A node has its
own key and certificate in one file, which is replaced atomically.

Clients verify instances by one authority of the installation. Private keys of authorities stay in the database,
encrypted.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NODE_FILE = "node.pem"
"""Private key and certificate of the node, in its folder."""

CA_FILE = "ca.pem"
"""Certificates of the authorities that a node trusts, in its folder: that of its instance, and that of sentinels, which
watch it."""

CLIENT_FILE = "client.pem"
"""Private key and certificate by which nodes and sentinels know a sentinel that connects to them, in its folder."""

_AUTHORITY_LIFE = timedelta(days=50 * 365)
_NODE_LIFE = timedelta(days=10 * 365)
_RENEW_BEFORE = timedelta(days=5 * 365)
"""Certificates are renewed long before they expire, because a node reads its certificate only at its start."""

_SERVER_LIFE = timedelta(days=825)
"""Some clients refuse certificates that are valid for longer (Apple, since 2019)."""

_CLOCK_SKEW = timedelta(days=1)

CONTROL_PLANE = "cachewright"
"""Name of the control plane in its certificates."""


def new_authority(subject: str, now: datetime | None = None, *, below: int = 0) -> str:
    """Return the private key and the certificate of a new authority, PEM. `subject` is a part of its name, `below` the
    number of levels of authorities that it can vouch for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Cachewright {subject}")
    builder = _builder(name, name, key.public_key(), now or _now(), _AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _pem(key, builder.sign(key, hashes.SHA256()))


def authority_certificate(authority: str) -> str:
    """Return the authority's certificate without its key, PEM."""
    return _certificate(authority).public_bytes(Encoding.PEM).decode()


def voucher(vouching: str, authority: str, now: datetime | None = None) -> str:
    """Return a certificate for the key of an authority, issued by another one, and the certificate of that one, PEM.
    Who trusts the other one then trusts the certificates of this authority."""
    issuer, issuer_key, subject = _certificate(vouching), _key(vouching), _certificate(authority)
    own = _key(authority).public_key()
    builder = _builder(subject.subject, issuer.subject, own, now or _now(), _AUTHORITY_LIFE - 2 * _CLOCK_SKEW)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    for extension in (x509.SubjectKeyIdentifier.from_public_key(own), issued_by):
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(issuer_key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode() + authority_certificate(vouching)


def node_certificate(
    authority: str, node_id: str, address: str, now: datetime | None = None, *, chain: str = ""
) -> str:
    """Return the private key and the certificate of a node, valid for clients and servers, PEM. Clients verify the node
    by its IP address, the control plane by its id: nodes of one host have the same address.

    :param chain: certificates after that of the node.
    """
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = [*_names(address), x509.DNSName(node_id)]
    extensions = [usage, x509.SubjectAlternativeName(names)]
    return _issued(authority, node_id, now or _now(), _NODE_LIFE, extensions) + chain


def client_certificate(authority: str, name: str = CONTROL_PLANE) -> str:
    """Return the private key and the certificate by which nodes of this authority know the control plane, or a proxy,
    PEM. It is not valid for a server, so a process cannot act as a node with it."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _issued(authority, name, _now(), _NODE_LIFE, [usage])


def sentinel_certificate(authority: str, sentinel_id: str) -> str:
    """Return the private key and the certificate of a sentinel at its own port, PEM. It is not valid for clients, and
    names the id alone, not an address: clients of instances trust this authority."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    names = x509.SubjectAlternativeName([x509.DNSName(sentinel_id)])
    return _issued(authority, sentinel_id, _now(), _NODE_LIFE, [usage, names])


def server_certificate(authority: str, address: str, now: datetime | None = None) -> str:
    """Return the private key and the certificate of a server at an IP address, and the certificate of the authority,
    PEM. On loopback it is also valid for the name `localhost`."""
    names = x509.SubjectAlternativeName(_names(address))
    extensions = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), names]
    return _issued(authority, address, now or _now(), _SERVER_LIFE, extensions) + authority_certificate(authority)


def vouchers(authority: str) -> str:
    """Return the certificates that follow that of the authority, PEM: those by which another one vouches for it."""
    others = x509.load_pem_x509_certificates(authority.encode())[1:]
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in others)


def trusted(pem: str) -> str:
    """Return the certificate of the authority from the result of `server_certificate`, PEM."""
    return x509.load_pem_x509_certificates(pem.encode())[-1].public_bytes(Encoding.PEM).decode()


def expires_at(pem: str) -> datetime:
    """Return when the first certificate in `pem` expires."""
    return _certificate(pem).not_valid_after_utc


def is_usable(pem: str, authority: str, now: datetime | None = None, *, chain: str = "") -> bool:
    """Whether `pem` contains a key with a certificate of this authority that stays valid for years, and this chain."""
    at = now or _now()
    try:
        certificate, key = _certificate(pem), _key(pem)
        certificate.verify_directly_issued_by(_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    if not pem.endswith(chain):
        return False
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return key.public_key() == certificate.public_key() and starts <= at < ends - _RENEW_BEFORE


def _issued(authority: str, name: str, now: datetime, life: timedelta, extensions: Sequence[x509.ExtensionType]) -> str:
    """Return a new private key and its certificate, PEM."""
    issuer, issuer_key = _certificate(authority), _key(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), issuer.subject, key.public_key(), now, life)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    for extension in (*extensions, issued_by):
        builder = builder.add_extension(extension, critical=False)
    return _pem(key, builder.sign(issuer_key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + life)


def _names(address: str) -> list[x509.GeneralName]:
    """Return the names of a server at an IP address."""
    place = ipaddress.ip_address(address)
    names: list[x509.GeneralName] = [x509.IPAddress(place)]
    if place.is_loopback:
        names.append(x509.DNSName("localhost"))
    return names


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> str:
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (secret + certificate.public_bytes(Encoding.PEM)).decode()


def _certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key


def _now() -> datetime:
    return datetime.now(UTC)
