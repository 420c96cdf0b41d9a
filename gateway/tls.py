"""TLS: the server's context, and a self-signed certificate for development.

Rules: TLS 1.2 at least, HTTP/1.1 only (WebSockets here are HTTP/1.1 upgrades). The development certificate names exactly the
hosts it is made for, lives 30 days and is made anew in its last week; browsers warn about it, as they should.

Not here: certificates for production, which come from the bank's own authority as files.
"""

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CERTIFICATE_FILE = "development-certificate.pem"
KEY_FILE = "development-certificate-key.pem"
LIFE = datetime.timedelta(days=30)
RENEW_BEFORE = datetime.timedelta(days=7)


def server_context(certificate_path: Path, key_path: Path) -> ssl.SSLContext:
    """Return the context for the listening socket; raises OSError or ssl.SSLError when the files do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate_path, key_path)
    return context


def development_certificate(folder: Path, hosts: list[str]) -> tuple[Path, Path]:
    """Return (certificate, key) in `folder` for `hosts`, names and addresses; made or renewed where needed."""
    certificate_path, key_path = folder / CERTIFICATE_FILE, folder / KEY_FILE
    names = _alternative_names(hosts)
    if not (key_path.exists() and _is_usable(certificate_path, names)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        _write(
            key_path,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        _write(certificate_path, _self_signed(key, names).public_bytes(serialization.Encoding.PEM))
    return certificate_path, key_path


def _alternative_names(hosts: list[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(["localhost", "127.0.0.1", "::1", *hosts]):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _is_usable(path: Path, names: list[x509.GeneralName]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    is_fresh = certificate.not_valid_after_utc - RENEW_BEFORE > datetime.datetime.now(datetime.UTC)
    return is_fresh and set(names) <= set(present)


def _self_signed(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tellerhall development")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # One minute in the past: a phone whose clock is a little behind must not refuse a new certificate.
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _write(path: Path, content: bytes) -> None:
    """Replace `path` at once, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
