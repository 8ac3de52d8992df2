"""Certificates for TLS between the nodes of an instance.

Each instance has its own certificate authority. Its nodes accept only peers with a certificate of that authority, so no
other process can join their cluster bus, replicate from them or receive their slots. The authority's private key stays
in the database, encrypted. A node has its own key and certificate in one file, which is replaced atomically.
"""

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
"""Certificate of the instance's authority, in the folder of each node."""

_AUTHORITY_LIFE = timedelta(days=50 * 365)
_NODE_LIFE = timedelta(days=10 * 365)
_RENEW_BEFORE = timedelta(days=5 * 365)
"""Certificates are renewed long before they expire, because a node reads its certificate only at its start."""

_CLOCK_SKEW = timedelta(days=1)


def new_authority(instance_id: str, now: datetime | None = None) -> str:
    """Return the private key and the certificate of a new authority, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Cachewright {instance_id}")
    builder = _builder(name, name, key.public_key(), now or _now(), _AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _pem(key, builder.sign(key, hashes.SHA256()))


def authority_certificate(authority: str) -> str:
    """Return the authority's certificate without its key, PEM."""
    return _certificate(authority).public_bytes(Encoding.PEM).decode()


def node_certificate(authority: str, node_id: str, now: datetime | None = None) -> str:
    """Return the private key and the certificate of a node, valid for clients and servers, PEM."""
    issuer, issuer_key = _certificate(authority), _key(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(node_id), issuer.subject, key.public_key(), now or _now(), _NODE_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    return _pem(key, builder.sign(issuer_key, hashes.SHA256()))


def is_usable(pem: str, authority: str, now: datetime | None = None) -> bool:
    """Whether `pem` contains a key with a certificate of this authority that stays valid for years."""
    at = now or _now()
    try:
        certificate, key = _certificate(pem), _key(pem)
        certificate.verify_directly_issued_by(_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return key.public_key() == certificate.public_key() and starts <= at < ends - _RENEW_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + life)


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
