"""What a demo's configuration asks for: services to start, certificates to make, ports that have to be free."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apigateway.cli.authority import Authority
from apigateway.config.addresses import TcpAddress, parse_listen_address, parse_target_url
from apigateway.config.model import Configuration

EXAMPLE = Path("config/quickstart.yaml")
FOLDER = Path("apigateway-demo")


@dataclass(frozen=True, slots=True)
class DemoSetting:
    """What was found in a configuration.

    services: (name, address) of each target on this machine. addresses: those that the gateway listens on.
    http, https, management: base URLs, "" for none. names: those that the certificates are for.
    ca: the certificate of who signed them, None where there are none.
    """

    services: tuple[tuple[str, TcpAddress], ...]
    addresses: tuple[TcpAddress, ...]
    http: str
    https: str
    management: str
    names: tuple[str, ...]
    ca: Path | None

    def taken(self) -> list[TcpAddress]:
        """Addresses that something else listens on."""
        wanted = (*self.addresses, *(address for _, address in self.services))
        return [address for address in wanted if not _free(address)]


def default_file() -> Path:
    """The quickstart of the checkout; of an installed program a copy of its own, which may be edited."""
    if EXAMPLE.exists():
        return EXAMPLE
    copy = FOLDER / EXAMPLE.name
    if not copy.exists():
        FOLDER.mkdir(exist_ok=True)
        shutil.copy(Path(sys.prefix, "share/apigateway", EXAMPLE), copy)
    return copy


def setting_of(configuration: Configuration) -> DemoSetting:
    """The setting of a configuration whose paths are absolute."""
    plain, secure = _listeners(configuration, tls=False), _listeners(configuration, tls=True)
    management = [] if configuration.management is None else _tcp(configuration.management.address)
    pairs = [pair for listener in configuration.listeners if listener.tls for pair in listener.tls.certificates]
    return DemoSetting(
        services=tuple(_services(configuration)),
        addresses=(*plain, *secure, *management),
        http=f"http://{plain[0]}" if plain else "",
        https=f"https://{secure[0]}" if secure else "",
        management=f"http://{management[0]}" if management else "",
        names=tuple(Path(pair.cert).stem for pair in pairs),
        ca=Path(pairs[0].cert).parent / "ca.pem" if pairs else None,
    )


def make_certificates(configuration: Configuration) -> list[Path]:
    """Make the listeners' certificates that are missing, each named as its file; what was made.

    Beside them one for a client, which a listener may want to see.
    """
    made: list[Path] = []
    for listener in configuration.listeners:
        for pair in listener.tls.certificates if listener.tls else ():
            path = Path(pair.cert)
            if not path.exists():
                authority = Authority.of_folder(path.parent)
                made += [authority.issue_server(path.stem), authority.issue_client("client")]
    return made


def _services(configuration: Configuration) -> Iterator[tuple[str, TcpAddress]]:
    seen = set()
    for upstream in configuration.upstreams:
        for target in upstream.targets:
            address = parse_target_url(target.url).address
            if address.loopback and address not in seen:
                seen.add(address)
                yield target.name or str(address), address


def _listeners(configuration: Configuration, *, tls: bool) -> list[TcpAddress]:
    return [
        address
        for listener in configuration.listeners
        if (listener.tls is not None) is tls
        for address in _tcp(listener.address)
    ]


def _tcp(text: str) -> list[TcpAddress]:
    address = parse_listen_address(text)
    return [address] if isinstance(address, TcpAddress) else []


def _free(address: TcpAddress) -> bool:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the gateway binds: a port whose last connections are only waiting to be forgotten is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError:
            return False
    return True
