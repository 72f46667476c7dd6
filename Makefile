# Two commands for a newcomer: `make demo` and `make test`. The others: setup, check, bench, simulate, lock.
# PYTHON=python3.12 make clean setup picks another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
COMPILE := $(BIN)/python -m proxy.gateway.compile
HOT_TESTS := tests/integration/gateway tests/integration/test_control_processes.py tests/integration/test_soak.py \
  tests/integration/test_counts.py tests/unit/gateway \
  tests/unit/routing tests/unit/analysis/test_breaker.py

# Debian keeps Python's venv in a package of its own. Root can mend that at once; anyone else is told.
INSTALL_VENV := { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing python3-venv" && \
  apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }

.PHONY: setup demo test check format bench simulate lock clean
.DELETE_ON_ERROR:

# Quick when the sources are those of the last time; without a C compiler it says so and all runs in pure Python.
setup: $(STAMP)
	@if $(COMPILE) --check; then $(COMPILE); fi

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Crossfade needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(INSTALL_VENV) && $(PYTHON) -m venv $(VENV) >/dev/null; } || { \
	  echo "make: $(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(STAMP): requirements.lock pyproject.toml | $(BIN)/pip
	@echo "setting up $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/crossfade demo

# All tests in pure Python, then those of the hot path compiled; most of them wait, so a few run at a time. With ARGS:
# what they say, in pure Python.
SEVERAL := -n 3
test: $(STAMP)
	@CROSSFADE_PURE=1 $(BIN)/python -m pytest $(if $(ARGS),$(ARGS),$(SEVERAL))
	@$(if $(ARGS),,if $(COMPILE) --check; then $(BIN)/python -m pytest -p tests.compiled $(SEVERAL) $(HOT_TESTS); fi)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@$(BIN)/python -m benchmarks.load $(ARGS)

simulate: $(STAMP)
	@$(BIN)/python -m benchmarks.simulate $(ARGS)

lock: $(STAMP)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --group dev -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
