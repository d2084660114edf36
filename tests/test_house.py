"""The rules of the house: floors, types, style; and that what is installed works from wherever it is."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sysconfig.get_path("scripts"))


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command, with its output; nothing of ours is importable unless `environ` says so."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environ
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def passes(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


# ---- checks


def test_imports_go_down_and_siblings_are_independent() -> None:
    passes(run(BIN / "lint-imports", "--no-cache", PYTHONPATH=str(ROOT)))


@pytest.mark.timeout(300)
def test_types() -> None:
    passes(run(BIN / "mypy"))


def test_style() -> None:
    passes(run(BIN / "ruff", "check", "--no-cache", "."))


def test_the_generated_reference_is_clean() -> None:
    passes(run(sys.executable, "-m", "apigateway.cli", "docs", "docs/reference", "--package-only", "--check"))


def test_there_is_no_package_that_would_hide_twisted_plugins() -> None:
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


# What only the extra "dev" of setup.py installs.
WITHOUT = (
    "import sys;"
    "sys.modules.update(dict.fromkeys("
    "'h11 hypothesis jsonschema_rs mypy mypy_zope pytest pytest_twisted sphinx treq trustme'.split()));"
)


def test_the_program_needs_nothing_of_what_developers_install(tmp_path: Path) -> None:
    again = "from apigateway.cli.main import main; main()"
    (tmp_path / "plain.py").write_text(WITHOUT + again)
    program = (sys.executable, tmp_path / "plain.py")
    passes(run(*program, "new-policy", "stamp", tmp_path, cwd=tmp_path, PYTHONPATH=str(ROOT)))
    passes(run(*program, "test-policy", tmp_path / "stamp.py", cwd=tmp_path, PYTHONPATH=str(ROOT)))
    passes(run(*program, "check", ROOT / "config/routing.yaml", cwd=tmp_path, PYTHONPATH=str(ROOT)))


# ---- what is installed

SEES = (
    "from twisted.plugin import getPlugins, IPlugin;"
    "from twisted.application.service import IServiceMaker;"
    "from twisted.internet.interfaces import IStreamServerEndpointStringParser as Parser;"
    "from twisted.application.reactors import getReactorTypes;"
    "print([maker.tapname for maker in getPlugins(IServiceMaker) if 'gateway' in maker.tapname],"
    " sorted(parser.prefix for parser in getPlugins(Parser) if 'native' in parser.prefix),"
    " [each.shortName for each in getReactorTypes() if each.shortName == 'uvloop'])"
)
SEEN = "['apigateway'] ['native', 'nativetls', 'nativeunix'] ['uvloop']\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed from, which builds may write into."""
    folder = tmp_path_factory.mktemp("checkout")
    made = shutil.ignore_patterns("__pycache__", "dropin.cache", "certs", "data")
    for name in ("apigateway", "twisted", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=made)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has what we depend on, and not us."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    # Listed, not added as a site folder: an editable install of ours in there is not followed.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin/python"


def test_plugins_are_seen_from_a_checkout_on_the_path(checkout: Path, python: Path, tmp_path: Path) -> None:
    done = run(python, "-c", SEES, cwd=tmp_path, PYTHONPATH=str(checkout))
    assert (done.stdout, done.returncode) == (SEEN, 0), done.stderr


def test_a_wheel_has_all_of_it(checkout: Path, python: Path, tmp_path: Path) -> None:
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, checkout)
    passes(run(python, *build))
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = archive.namelist()
    assert "apigateway/py.typed" in names
    assert "twisted/plugins/apigateway_dropin.py" in names
    assert any(name.endswith("share/apigateway/config/quickstart.yaml") for name in names)
    assert any(name.endswith("/LICENSE") for name in names)
    assert [name for name in names if name.startswith(("tests", "twisted/__init__", "twisted/plugins/__init__"))] == []
    done = run(python, "-c", SEES, cwd=tmp_path, PYTHONPATH=str(installed))
    assert (done.stdout, done.returncode) == (SEEN, 0), done.stderr


def test_an_editable_install_is_seen_from_another_folder(checkout: Path, python: Path, tmp_path: Path) -> None:
    install = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat")
    passes(run(python, "-m", "pip", *install, "--editable", checkout))
    done = run(python, "-c", SEES, cwd=tmp_path)
    assert (done.stdout, done.returncode) == (SEEN, 0), done.stderr
    command = run(python.parent / "apigateway", "--version", cwd=tmp_path)
    assert command.stdout.startswith("apigateway, version ")


def test_plugins_are_seen_where_their_list_cannot_be_written(checkout: Path, python: Path, tmp_path: Path) -> None:
    plugins = tmp_path / "twisted/plugins"
    plugins.mkdir(parents=True)
    shutil.copy(checkout / "twisted/plugins/apigateway_dropin.py", plugins)
    # A folder in the list's place: not even root writes a file there.
    (plugins / "dropin.cache").mkdir()
    done = run(python, "-c", SEES, cwd=tmp_path, PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))))
    assert (done.stdout, done.returncode) == (SEEN, 0), done.stderr
