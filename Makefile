# Two commands matter: `make run` and `make test`. Both build what they need; nothing is installed outside .venv,
# except Chromium for the browser tests, Debian's Redis for the store's and its coturn for TURN, where this is allowed. The engine is compiled where
# there is a C compiler, once for its sources (setup.py); TELLERHALL_COMPILED=0 asks for plain Python instead.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
PYTEST := $(BIN)/python -m pytest
ENGINE := $(BIN)/python setup.py -q engine
TYPESCRIPT := 5.9.3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test test-fast engine check lock loadtest sim soak fuzz bench-engine bench-estimate bench-shard bench-move bench-rpc bench-media bench-gateway bench-attacks clean chromium redis-server coturn curl typescript

run: $(VENV)/.installed ## start Tellerhall on this machine with the demo hall
	@$(ENGINE)
	@$(BIN)/tellerhall up --data $(DATA) $(ARGS)

test: check chromium redis-server coturn curl typescript ## everything CI checks; the engine's own tests in both modes
	@$(ENGINE)
	$(PYTEST) tests
	TELLERHALL_COMPILED=0 $(PYTEST) tests/engine tests/scenarios

test-fast: $(VENV)/.installed-dev ## no browser, no cluster
	@$(ENGINE)
	$(PYTEST) -m "not ray and not browser and not node" tests

engine: $(VENV)/.installed-dev ## compile the engine, as the others do by themselves
	@$(ENGINE)

check: $(VENV)/.installed-dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sim: $(VENV)/.installed-dev ## a whole hall in virtual time under faults, from a random seed that is printed; SEED=7: that one again
	@$(ENGINE)
	$(BIN)/python -m tests.simulation.run $(SEED)

soak: $(VENV)/.installed-dev ## engine and twin walk through random halls, and whole halls are simulated, for an hour; SOAK_S=60: a minute
	@$(ENGINE)
	$(BIN)/python -m tests.engine.soak

fuzz: $(VENV)/.installed-dev ## fuzzers before a real gateway for ten minutes each; FUZZ_S=60: a minute
	@$(ENGINE)
	FUZZ_S=$(or $(FUZZ_S),600) $(PYTEST) -x --timeout=0 tests/gateway/test_fuzz.py

loadtest: $(VENV)/.installed-dev ## a minute of 300 virtual customers and 60 virtual agents; results in out/loadtest
	@$(ENGINE)
	$(BIN)/python -m loadtest $(ARGS)

bench-engine bench-estimate bench-shard bench-move bench-rpc bench-media bench-gateway bench-attacks: bench-%: $(VENV)/.installed-dev ## figures; QUICK=1: a shorter time at the same scale
	@$(ENGINE)
	$(BIN)/python -m bench.$*

lock: $(VENV)/.installed-dev ## pin all dependencies anew
	$(BIN)/uv pip compile -q --no-header --generate-hashes --python-version 3.11 --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --no-header --generate-hashes --python-version 3.11 -c requirements.lock \
	  --extra dev --extra loadtest --extra bench pyproject.toml -o requirements-dev.lock

clean: ## remove what was built; the data folder stays
	rm -rf $(VENV) build out *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Tellerhall needs Python 3.11: install it, or say PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.installed

chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-noto-cjk >/dev/null; } \
	  || { echo "The browser tests need Chromium: apt-get install chromium fonts-noto-cjk"; exit 1; }

redis-server:
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server >/dev/null; } \
	  || { echo "The store's tests need Debian's Redis: apt-get install redis-server"; exit 1; }

curl:
	@command -v curl >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get -qq update && apt-get -qq install -y --no-install-recommends curl >/dev/null; } \
	  || { echo "The examples in docs/clients.md need curl: apt-get install curl"; exit 1; }

coturn:
	@command -v turnserver >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get -qq update && apt-get -qq install -y --no-install-recommends coturn >/dev/null; } \
	  || { echo "The TURN tests need Debian's coturn: apt-get install coturn"; exit 1; }

typescript: $(VENV)/typescript/$(TYPESCRIPT) ## the compiler that checks the pages' types; it builds nothing

$(VENV)/typescript/$(TYPESCRIPT): | $(VENV)/bin/python
	@command -v npm >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get -qq update && apt-get -qq install -y --no-install-recommends nodejs npm >/dev/null; } \
	  || { echo "The check of the pages' types needs Node.js: apt-get install nodejs npm"; exit 1; }
	npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix $(VENV)/typescript typescript@$(TYPESCRIPT)
	@touch $@
