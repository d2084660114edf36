"""HAProxy. Its access log goes to standard output, as it writes no files: a write for each line."""

from __future__ import annotations

from collections.abc import Sequence

from bench.place import Place, Proxy, program

POLICIES = """  stick-table type ip size 100k expire 60s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
  http-request set-header X-Edited one
  http-response set-header X-Served-By bench"""


def _command(place: Place) -> Sequence[str] | str:
    found = program("haproxy")
    if found is None:
        return "haproxy is not installed: apt install haproxy"
    tls = ""
    if place.scenario.tls:
        chain, key = place.certificate()
        tls = f" ssl crt {place.kept('both.pem', chain.read_text() + key.read_text())}"
    table = place.kept("routes.map", "".join(f"{path} backend\n" for path in place.scenario.paths()))
    path = place.written("haproxy.cfg", TLS=tls, MAP=table, POLICIES=POLICIES if place.scenario.policies else "")
    return ["sh", "-c", f"exec {found} -db -f {path} >> {place.log}"]


HAPROXY = Proxy("haproxy", "routes in a prefix map, access log unbuffered", True, _command)
