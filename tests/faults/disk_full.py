"""What has to hold of logs that cannot be written, whatever the reason."""

from __future__ import annotations

import json
from pathlib import Path

from gateway_process import GatewayProcess, eventually, fetched
from toolkit.client import Client

LOST = "apigateway_log_lines_lost_total"


async def traffic_goes_on(client: Client, count: int = 50) -> None:
    """Requests are answered as if nothing was."""
    for number in range(count):
        assert await fetched(client, f"/{number}") == 200


async def lost(gateway: GatewayProcess, log: str) -> int:
    """Lines that were never written, as the metrics have it."""
    return int(await gateway.metric(LOST, f'{{log="{log}"}}'))


async def traffic_until_lost(gateway: GatewayProcess, client: Client, log: str, least: int = 1) -> int:
    """Requests until so many lines are lost; how many requests that were."""
    asked = 0

    async def enough() -> bool:
        nonlocal asked
        if await lost(gateway, log) >= least:
            return True
        await traffic_goes_on(client)
        asked += 50
        return False

    await eventually(enough)
    return asked


def whole_lines(path: Path) -> int:
    """Lines of JSON in a file; what is none may only be one that a full disk cut."""
    lines = path.read_bytes().splitlines()
    whole = 0
    for line in lines:
        try:
            json.loads(line)
        except ValueError:
            continue
        whole += 1
    assert len(lines) - whole <= 1, lines
    return whole
