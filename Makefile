# make serve   set up and serve the example app on http://127.0.0.1:2024 (PORT=… for another port)
# make quick   the tests that need no server and no database server, in half a minute: while you write
# make test    set up and run all tests
# make check   style, types, layers, file sizes
# make soak    what takes long: fifty kills, and the conformance suite against many processes, with and without Redis
# make studio  build the page at /studio; make studio-dev serves it while it is changed, beside a running `make serve`
# make studio-measure   what a person waits for in Studio, measured; make studio-pictures takes the pictures of docs/studio.md
# make newest  the tests of clients, with the newest LangGraph and the newest clients
# make packages   build wheel and sdist into dist/ and check them
# make docs    check that the documentation names everything there is
#
# Needs Python 3.11 or newer with pip, and make. The JavaScript guide is tested with Node, the shell guide with curl and jq,
# the React clients in Chromium.

PYTHON ?= python3
PORT ?= 2024
VENV ?= .venv
WORKERS ?= 3
TESTS ?= tests
SUITE ?= ../shared/conformance

BIN := $(VENV)/bin
JS := examples/copying_threads
PAGE := tests/browser
STUDIO := studio
STUDIO_BUILT := src/threadloom/studio/dist/index.html

.PHONY: serve quick setup test check soak newest packages docs studio studio-dev studio-check studio-measure studio-pictures clean
.DEFAULT_GOAL := serve

serve: $(VENV)/.installed
	$(BIN)/threadloom dev --config examples/chat/langgraph.json --port $(PORT) --no-reload --no-browser

quick: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/unit tests/docs

setup: $(VENV)/.dev $(JS)/node_modules/.installed $(VENV)/.jq $(VENV)/.chromium $(PAGE)/dist/.built $(STUDIO_BUILT)

test: setup
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(VENV)/.dev studio-check
	$(BIN)/ruff check src tests examples
	$(BIN)/ruff format --check src tests examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/docs/file_sizes.py src tests examples

studio: $(STUDIO_BUILT)

studio-dev: $(STUDIO)/node_modules/.installed
	cd $(STUDIO) && npm run --silent dev

studio-check: $(STUDIO)/node_modules/.installed
	cd $(STUDIO) && npm run --silent check && npm run --silent test

studio-measure: $(VENV)/.dev $(VENV)/.chromium $(STUDIO_BUILT)
	PYTHONPATH=$(CURDIR) $(BIN)/python $(STUDIO)/measure/measure.py

studio-pictures: $(VENV)/.dev $(VENV)/.chromium $(STUDIO_BUILT)
	THREADLOOM_PICTURES=$(CURDIR)/docs/studio $(BIN)/python -m pytest -q $(PAGE)/test_studio_pictures.py

docs: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/docs

soak: $(VENV)/.dev
	THREADLOOM_KILLS=50 $(BIN)/python -m pytest -q tests/risk/test_kill_nine_processes.py
	for more in "" --redis; do \
		PYTHONPATH=$(CURDIR) $(BIN)/python $(SUITE)/run.py --apps main,auth,variant \
			--serve "$(CURDIR)/$(BIN)/python -m tests.serve_cluster --config {config} --port {port} $$more" \
			-- -q -m 'not one_process' || exit 1; \
	done

CLIENTS := tests/wire/test_protocol_js.py tests/wire/test_protocol_sdk.py tests/wire/test_newest_clients.py tests/wire/test_remote_graph.py \
	tests/wire/test_mcp.py tests/wire/test_a2a.py tests/wire/test_run_streams.py tests/wire/test_openapi.py tests/wire/test_sdk_routes.py

# In an environment of its own, so that the tests of this checkout keep the versions that they are known to pass with.
newest:
	$(MAKE) VENV=.venv-newest .venv-newest/.dev
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		langgraph langgraph-sdk langgraph-checkpoint langchain mcp a2a-sdk
	.venv-newest/bin/python -m pip list --disable-pip-version-check | grep -E '^(lang|mcp|a2a)'
	THREADLOOM_NEWEST=1 .venv-newest/bin/python -m pytest -q -n $(WORKERS) --dist loadfile $(CLIENTS)

packages: $(VENV)/.dev $(STUDIO_BUILT)
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(BIN)/python -m zipfile -l dist/*.whl | grep threadloom/cli/__init__.py > /dev/null
	$(BIN)/python -m zipfile -l dist/*.whl | grep 'threadloom/studio/dist/assets/index-.*\.js ' > /dev/null
	tar -tzf dist/*.tar.gz | grep threadloom/studio/dist/index.html > /dev/null

clean:
	rm -rf $(VENV) .venv-newest $(JS)/node_modules $(PAGE)/node_modules $(PAGE)/dist $(STUDIO)/node_modules $(dir $(STUDIO_BUILT)) build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 …"; exit 1; }
	@echo "Setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing Threadloom and what it needs into $(VENV), which takes up to a minute …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing what the tests need, which takes up to two minutes …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

$(JS)/node_modules/.installed: $(JS)/package.json $(JS)/package-lock.json
	@command -v npm >/dev/null || { echo "The JavaScript guide is tested with Node: install node and npm."; exit 1; }
	@echo "Installing the JavaScript clients into $(JS) …"
	@cd $(JS) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(PAGE)/node_modules/.installed: $(PAGE)/package.json $(PAGE)/package-lock.json
	@command -v npm >/dev/null || { echo "The chat page of the browser tests is built with Node: install node and npm."; exit 1; }
	cd $(PAGE) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(PAGE)/dist/.built: $(PAGE)/node_modules/.installed $(PAGE)/index.html $(PAGE)/tsconfig.json $(PAGE)/vite.config.js $(wildcard $(PAGE)/src/*)
	cd $(PAGE) && npm run --silent build
	@touch $@

$(STUDIO)/node_modules/.installed: $(STUDIO)/package.json $(STUDIO)/package-lock.json
	@command -v npm >/dev/null || { echo "Studio is built with Node: install node and npm."; exit 1; }
	cd $(STUDIO) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STUDIO_BUILT): $(STUDIO)/node_modules/.installed $(STUDIO)/index.html $(STUDIO)/vite.config.ts $(shell find $(STUDIO)/src $(STUDIO)/public -type f)
	cd $(STUDIO) && npm run --silent build

$(VENV)/.jq: $(VENV)/.installed
	@$(call debian_package,jq,which the shell guide uses)
	@touch $@

$(VENV)/.chromium: $(VENV)/.installed
	@$(call debian_package,chromium,in which the chat page is tested)
	@touch $@

# Installs a command's Debian package of the same name, unless the command is there.
define debian_package
command -v $(1) >/dev/null || { \
	echo "Installing $(1), $(2)."; \
	SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	$$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq $(1); \
} || { echo "$(1), $(2), is not there and cannot be installed: install it."; exit 1; }
endef
