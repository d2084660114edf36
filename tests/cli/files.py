"""Configurations that the tests of commands work on."""

from __future__ import annotations

from pathlib import Path

from toolkit.ports import free_port

from apigateway.config.addresses import TcpAddress

SHOP = """\
version: 1
listeners:
  - {name: public, address: "127.0.0.1:8080"}
references: {env: [SHOP_TOKEN]}
upstreams:
  - name: stable
    targets: [{name: one, url: "http://127.0.0.1:9001"}, {name: spare, url: "http://127.0.0.1:9002", role: failover}]
pre_flow:
  request:
    - {policy: security-headers}
apis:
  - name: shop
    base_path: /shop
    pre_flow:
      request:
        - {policy: rate-limit, name: fair, mode: shadow, with: {limit: 2, per: 1m, by: ip}}
        - {policy: set-headers, when: 'request.method == "GET"', with: {set: {X-Read: "1"}}}
    error_flow: [{policy: problem-details}]
    routes:
      - {name: list, match: {methods: [GET], path: /items}, upstream: stable}
      - {name: item, match: {path: "/items/{id}"}, upstream: stable}
      - name: split
        match: {path: /split}
        upstream: [{when: 'request.query["beta"] == "1"', upstream: stable}, {upstream: stable}]
      - {name: closed, match: {path: /closed}, pre_flow: {request: [{policy: maintenance}]}}
"""

MOCK = """\
version: 1
listeners:
  - {{name: public, address: "{address}"}}
drain: {{notice: 10ms, timeout: 2s}}
apis:
  - name: hello
    routes:
      - {{name: all, pre_flow: {{request: [{{policy: mock, with: {{status: 200, body: {body}}}}}]}}}}
"""


def free_address() -> TcpAddress:
    """An address that nothing listens on."""
    return TcpAddress("127.0.0.1", free_port())


def written(folder: Path, text: str, name: str = "gateway.yaml") -> Path:
    """A file of a text."""
    file = folder / name
    file.write_text(text)
    return file
