# `make demo` and `make test` are all that a fresh clone needs.
#
# .venv is made with the newest Python from 3.11 on; `make PYTHON=python3.12 ...` names another.
# A stamp file says what is installed, so that a second run begins at once.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: demo test check docs reference bench soak fuzz steady faults-root compiled test-compiled clean

VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/installed
DEVELOPS := $(VENV)/installed-dev
COMPILED := .venv-compiled
SOURCES := setup.py $(shell find apigateway twisted config -name '*.py' -o -name '*.yaml')

# Who develops has the checkout itself installed, and that is what the demo then runs.
demo: $(if $(wildcard $(DEVELOPS)),$(DEVELOPS),$(RUNS))
	@exec $(BIN)/apigateway demo

# In two processes, file by file: most of what the tests do is to wait. `.venv/bin/pytest` alone runs them in one.
test: $(DEVELOPS)
	@exec $(BIN)/pytest -n 2 --dist loadfile $(TESTS)

check: $(DEVELOPS)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/apigateway docs docs/reference --package-only --check

reference: $(DEVELOPS)
	$(BIN)/apigateway docs docs/reference --package-only

docs: reference
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Beside the peers that are installed. `make bench BENCH='--jobs plain,tls --rounds 3'` does a part.
bench: $(DEVELOPS) compiled
	$(BIN)/python -m bench $(BENCH)

# Twenty minutes under load: is it then what it was? `make soak MINUTES=1` tries it.
soak: $(DEVELOPS) compiled
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),20)

# Hostile input for every parser. `make fuzz MINUTES=1`; what is found is in fuzz-findings/, and is an error.
fuzz: $(DEVELOPS)
	$(BIN)/python tests/fuzz --minutes $(or $(MINUTES),10)

# The tests with real sockets and processes, again and again: `make steady TIMES=3 TESTS=tests/cli`.
REAL := adapters cli config_examples contract dataplane deploy faults loopback manager state supervisor transport

steady: $(DEVELOPS)
	@turn=0; while [ $$turn -lt $(or $(TIMES),20) ]; do \
	  turn=$$((turn + 1)); echo "turn $$turn of $(or $(TIMES),20)"; \
	  $(BIN)/pytest -q -x -n 2 --dist loadfile $(or $(TESTS),$(wildcard $(REAL:%=tests/%))) || \
	    { echo "turn $$turn failed, in the test that is named above" >&2; exit 1; }; \
	done

# Faults that take root to make: a disk that is full. `make test` runs them, too, where it is root.
faults-root: $(DEVELOPS)
	@test "$$(id -u)" = 0 || { echo "these tests mount a disk of their own, which takes root" >&2; exit 1; }
	@exec $(BIN)/pytest tests/faults/root

# The hot modules as C (setup.py says which), in an environment of its own. It takes minutes, and a C compiler.
compiled: $(COMPILED)/installed

# From a folder without the sources, which would be found before what is installed.
test-compiled: compiled
	@$(COMPILED)/bin/python -P -c \
	  'from apigateway.flow import machine; assert not machine.__file__.endswith(".py"), "not compiled"'
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp -R tests pyproject.toml "$$folder" && \
	  bin="$$PWD/$(COMPILED)/bin" && cd "$$folder" && \
	  "$$bin/pytest" $(or $(TESTS),tests/wire tests/flow tests/loopback tests/dataplane)

clean:
	rm -rf $(VENV) $(COMPILED) build dist *.egg-info docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- what is installed

$(BIN)/pip:
	@found=; \
	for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if command -v $$python >/dev/null 2>&1 && \
	     $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11 or newer is needed (apt install python3 python3-venv; brew install python)." >&2; exit 1; \
	fi; \
	if ! $$found -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$$found has no venv module: apt install python3-venv (or $$found-venv)." >&2; exit 1; \
	fi; \
	echo "$$found -m venv $(VENV)"; \
	$$found -m venv $(VENV)

# build/ is removed: what setuptools finds there it would pack again, also files that are gone.
$(RUNS): $(SOURCES) | $(BIN)/pip
	@rm -rf build
	$(BIN)/pip install --quiet --disable-pip-version-check .
	@rm -rf build
	@touch $@

# twistd finds the plugin of an editable install from any folder only in setuptools' older way (compat).
$(DEVELOPS): setup.py | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[dev]'
	@touch $@

$(COMPILED)/installed: $(SOURCES) | $(BIN)/pip
	@rm -rf build
	test -x $(COMPILED)/bin/pip || $(BIN)/python -m venv $(COMPILED)
	$(COMPILED)/bin/pip install --quiet --disable-pip-version-check '.[dev]'
	@rm -rf build
	APIGATEWAY_COMPILE=1 $(COMPILED)/bin/pip install --quiet --disable-pip-version-check \
	  --no-build-isolation --no-deps --force-reinstall .
	@rm -rf build
	@touch $@
