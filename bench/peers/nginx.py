"""nginx: as a peer, and as the backend of everybody."""

from __future__ import annotations

from collections.abc import Sequence

from bench.place import Place, Proxy, program


def _command(place: Place) -> Sequence[str] | str:
    found = program("nginx")
    if found is None:
        return "nginx is not installed: apt install nginx-light, or brew install nginx"
    locations = [f"    location {path} {{ proxy_pass http://backend; }}" for path in place.scenario.paths()]
    path = place.written(
        "nginx.conf", LISTEN=_listen(place), LOCATIONS="\n".join(locations),
        POLICIES=POLICIES if place.scenario.policies else "",
    )
    return [found, "-c", path]


def _listen(place: Place) -> str:
    if not place.scenario.tls:
        return f"listen 127.0.0.1:{place.port};"
    chain, key = place.certificate()
    return (
        f"listen 127.0.0.1:{place.port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};"
        " ssl_protocols TLSv1.2 TLSv1.3;"
    )


# nodelay and the burst: none is held back, as with everybody else.
POLICIES = """limit_req_zone $binary_remote_addr zone=callers:10m rate=1000000r/s;
  limit_req zone=callers burst=1000000 nodelay;
  limit_req_status 429;
  proxy_set_header X-Edited one;
  add_header X-Served-By bench;"""

NGINX = Proxy("nginx", "access log", True, _command)
