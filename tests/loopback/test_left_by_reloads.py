"""What a revision leaves behind when another one has taken its place: nothing that only the collector would find."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import pytest_twisted
from toolkit.stage import Stage
from toolkit.waiting import until

from apigateway.dataplane.deployment import Deployment
from apigateway.flow.drafting import Draft
from apigateway.flow.plan import Plan


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Objects go by counting references, or stay."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def count(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


@pytest_twisted.ensureDeferred
async def test_it_goes_without_the_collector(stage: Stage, no_collector: None) -> None:
    origin = await stage.origin()
    settings = {
        "upstreams": [{"name": "up", "targets": [{"url": origin.url}]}],
        "apis": [{
            "name": "a", "base_path": "/",
            "pre_flow": {"request": [
                {"policy": "rate-limit", "with": {"limit": 1000, "per": "1m", "by": "ip"}},
                {"policy": "set-headers", "with": {"set": {"X-Client": "{client.ip}"}}},
            ]},
            "conditional_flows": [{"name": "some", "when": 'request.method == "GET"', "request": []}],
            "routes": [
                {"name": "r", "match": {"path_prefix": "/", "when": 'request.query["x"] == ""'}, "upstream": "up"},
            ],
        }],
    }
    gateway = await stage.serve(settings)
    for number in range(4):
        settings["apis"][0]["routes"][0]["name"] = f"r{number}"
        gateway.write(settings)
        assert (await gateway.reload())["taken"]
        assert (await stage.ask("GET", "/")).status == 200
    # The newest alone, once its exchanges are logged; what the gateway began with was taken for settled, and is out of
    # sight. Its plans: of the route, and of what matches none.
    await until(lambda: [count(kind) for kind in (Deployment, Draft, Plan)] == [1, 1, 2], "the old ones are gone")
