"""Express Gateway.

Its rate limit counts in Redis; where that is emulated in its memory, as here, a request took a second. So with
policies, it edits the two fields only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.place import Place, Proxy, program


def _command(place: Place) -> Sequence[str] | str:
    package, node = _package(), program("node")
    if package is None or node is None:
        return "express is not installed: npm install express-gateway, and name its folder in EXPRESS_GATEWAY"
    folder = place.folder / f"{place.stem}-express"
    shutil.copytree(package / "lib" / "config" / "models", folder / "models", dirs_exist_ok=True)
    (folder / "system.config.json").write_text(json.dumps(SYSTEM))
    (folder / "gateway.config.json").write_text(json.dumps(_configuration(place)))
    quiet = f"NODE_ENV=production LOG_LEVEL=info EG_CONFIG_DIR={folder}"
    return ["sh", "-c", f"{quiet} exec {node} {package / 'lib' / 'index.js'} >> {place.log} 2>&1"]


def _package() -> Path | None:
    """The folder of the npm package: named, or where `eg` on PATH comes from."""
    named, command = os.environ.get("EXPRESS_GATEWAY"), shutil.which("eg")
    found = Path(named) if named else Path(command).resolve().parents[1] if command else None
    return found if found is not None and (found / "lib" / "index.js").exists() else None


def express_version() -> str | None:
    """What its package says; None where it is not there."""
    package = _package()
    return None if package is None else str(json.loads((package / "package.json").read_text())["version"])


SYSTEM = {
    "db": {"redis": {"emulate": True, "namespace": "EG"}},
    "crypto": {"cipherKey": "of-the-benchmark", "algorithm": "aes256", "saltRounds": 10},
    "session": {"secret": "of-the-benchmark", "resave": False, "saveUninitialized": False},
    "accessTokens": {"timeToExpiry": 7200000}, "refreshTokens": {"timeToExpiry": 7200000},
    "authorizationCodes": {"timeToExpiry": 300000},
}

LINE = json.dumps({
    "id": "${req.egContext.requestID}", "client": "${req.ip}", "method": "${req.method}", "target": "${req.url}",
    "host": "${req.headers.host}", "user_agent": "${req.headers['user-agent']}",
})


def _configuration(place: Place) -> dict[str, Any]:
    listener: dict[str, Any] = {"port": place.port, "hostname": "127.0.0.1"}
    if place.scenario.tls:
        chain, key = map(str, place.certificate())
        listener["tls"] = {"default": {"cert": chain, "key": key}}
    steps: list[dict[str, Any]] = [{"log": {"action": {"message": LINE}}}]
    if place.scenario.policies:
        steps += [
            {"request-transformer": {"action": {"headers": {"add": {"x-edited": "'one'"}}}}},
            {"response-transformer": {"action": {"headers": {"add": {"x-served-by": "'bench'"}}}}},
        ]
    steps.append({"proxy": {"action": {"serviceEndpoint": "backend", "changeOrigin": False, "xfwd": True}}})
    return {
        "https" if place.scenario.tls else "http": listener,
        "apiEndpoints": {
            f"r{number}": {"host": "*", "paths": f"{path}*"} for number, path in enumerate(place.scenario.paths())
        },
        "serviceEndpoints": {"backend": {"urls": [f"http://127.0.0.1:{port}" for port in place.backends]}},
        "policies": ["log", "proxy", "request-transformer", "response-transformer"],
        "pipelines": {"all": {
            "apiEndpoints": [f"r{number}" for number in range(len(place.scenario.paths()))], "policies": steps,
        }},
    }


EXPRESS = Proxy("express", "Express Gateway; a log line for each request; no rate limit", True, _command)
