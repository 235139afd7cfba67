"""deploy/nginx.conf itself in front of a gateway: only its paths and ports are replaced."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import ROOT, free_port
from tests.story.hospital import NotServing

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
START_S = 20
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Front:
    """nginx on a port of its own, with a certificate made for it; ended by its pid."""

    def __init__(self, home: Path, program: str, gateway_port: int) -> None:
        self.home = home
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.certificate = home / "fullchain.pem"
        home.mkdir(parents=True)
        make_certificate(self.certificate, home / "privkey.pem")
        (home / "nginx.conf").write_text(self._configuration(gateway_port))
        words = [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-g", "daemon off;"]
        with (home / "said.log").open("wb") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out)
        self._wait()

    @property
    def tls(self) -> ssl.SSLContext:
        """What a client trusts."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def said(self) -> str:
        """All that it has written down."""
        return "".join(path.read_text() for path in sorted(self.home.glob("*.log")))

    def _configuration(self, gateway_port: int) -> str:
        text = CONFIGURATION.read_text()
        paths = "".join(f"{name}_temp_path {self.home}/{name};\n" for name in TEMPORARY)
        for here, there in {
            "127.0.0.1:8042": f"127.0.0.1:{gateway_port}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "/etc/openpriors/tls/": f"{self.home}/",
            "/var/log/nginx/": f"{self.home}/",
            "/run/nginx.pid": f"{self.home}/nginx.pid",
            "\nhttp {\n": f"\nhttp {{\n{paths}",
        }.items():
            assert here in text, f"{CONFIGURATION} has no {here!r} to replace"
            text = text.replace(here, there)
        return text

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            if (self.home / "nginx.pid").exists() and (self.home / "nginx.pid").read_text().strip():
                return
            time.sleep(0.02)
        raise NotServing(f"nginx did not start:\n{self.said()}")


def make_certificate(certificate: Path, private_key: Path) -> None:
    """A certificate for localhost that signs itself, for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begins = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    private_key.chmod(0o600)
