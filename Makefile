# Everything that a developer of txsocks5 runs.  `make help` lists it.
#
# Each virtual environment is made on demand, in a folder that git ignores, and
# remembers in stamp files what was installed into it.

PYTHON ?= $(shell tools/find-python)
VENV ?= .venv
BIN = $(VENV)/bin

# Arguments for `make run`, such as ARGS="--listen tcp:1081".
ARGS ?=
# What `make test` runs, such as TESTS=tests.test_wire.
TESTS ?= tests
TRIAL_FLAGS ?=

# The oldest Twisted that setup.cfg allows, and the oldest Automat that goes with
# it (but for 24.8.0, which was withdrawn).
OLDEST_TWISTED := $(shell sed -n 's/^ *Twisted\[tls\]>=//p' setup.cfg)
OLDEST_AUTOMAT := 24.8.1

# All tests but those that run real clients: other Pythons and other Twisteds
# change nothing for those.
UNIT_TESTS = $(shell find tests -name 'test_*.py' -not -path 'tests/interop/*' \
    -not -path '*/node_modules/*' | sort | sed 's,/,.,g; s,\.py$$,,')

# $(call pip,ENVIRONMENT) installs into it.  The plugin of an editable install is seen
# only in the compatible mode; setuptools warns at length that this mode is old.
pip = PYTHONWARNINGS=ignore $(1)/bin/python -m pip install -q
EDITABLE = --config-settings editable_mode=compat -e
METADATA = setup.cfg pyproject.toml

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) \
	    | awk -F'|' '{ printf "  %-14s %s\n", $$1, $$2 }'

# -- environments

$(VENV)/bin/python:
	@test -n "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: $(METADATA) | $(VENV)/bin/python
	$(call pip,$(VENV)) $(EDITABLE) .
	@touch $@

# `clients` first: python-gssapi, which comes with the extra `test`, is built on this machine.
$(VENV)/.installed-test: | clients

# .venv/.installed-test and so on: txsocks5 with one of its extras.
$(VENV)/.installed-%: $(METADATA) | $(VENV)/bin/python
	$(call pip,$(VENV)) $(EDITABLE) ".[$*]"
	@touch $@ $(VENV)/.installed

# -- running

.PHONY: run
run: $(VENV)/.installed-config $(VENV)/.installed-htpasswd ## run the proxy on 127.0.0.1:1080 (ARGS="..." for options)
	@exec $(BIN)/twistd -n --pidfile= socks5 $(ARGS)

# -- tests

.PHONY: test
test: $(VENV)/.installed-test ## run all tests (TESTS=tests.test_wire for one module)
	$(BIN)/trial $(TRIAL_FLAGS) $(TESTS)

.PHONY: clients
clients: ## install the real SOCKS clients, and the KDC, that the tests run
	@tools/install-clients

.PHONY: test-oldest
test-oldest: .venv-oldest/.installed ## run the tests with the oldest supported Twisted
	.venv-oldest/bin/trial $(TRIAL_FLAGS) $(UNIT_TESTS)

.venv-oldest/.installed: $(METADATA) | clients
	"$(PYTHON)" -m venv .venv-oldest
	$(call pip,.venv-oldest) $(EDITABLE) ".[test]" \
	    "Twisted==$(OLDEST_TWISTED)" "Automat==$(OLDEST_AUTOMAT)"
	@touch $@

.PHONY: test-newest
test-newest: clients ## run the tests with the newest released Twisted
	@test -x .venv-newest/bin/python || "$(PYTHON)" -m venv .venv-newest
	$(call pip,.venv-newest) --upgrade --upgrade-strategy eager \
	    $(EDITABLE) ".[test]"
	.venv-newest/bin/trial $(TRIAL_FLAGS) $(UNIT_TESTS)

.PHONY: test-py311 test-py312 test-py313
test-py311: ## run the tests with Python 3.11
test-py312: ## run the tests with Python 3.12
test-py313: ## run the tests with Python 3.13
test-py311 test-py312 test-py313: test-py31%: .venv-py31%/.installed
	.venv-py31$*/bin/trial $(TRIAL_FLAGS) $(UNIT_TESTS)

.venv-py31%/.installed: $(METADATA) | clients
	python="$$(tools/find-python 3.1$*)" && "$$python" -m venv .venv-py31$*
	$(call pip,.venv-py31$*) $(EDITABLE) ".[test]"
	@touch $@

.PHONY: test-wheel
test-wheel: dist clients ## run the tests against the built wheel
	rm -rf .venv-wheel build/test-wheel && mkdir -p build/test-wheel
	"$(PYTHON)" -m venv .venv-wheel
	$(call pip,.venv-wheel) "$$(echo build/dist/*.whl)[test]"
	tar -xzf build/dist/*.tar.gz -C build/test-wheel --strip-components=1
	cd build/test-wheel && rm -rf txsocks5 twisted *.egg-info
	cd build/test-wheel && ../../.venv-wheel/bin/python -m twisted.trial $(TRIAL_FLAGS) $(UNIT_TESTS)

.PHONY: fuzz
fuzz: $(VENV)/.installed-test ## feed the readers of the wire format with rubbish for a while
	$(BIN)/python -m tests.fuzz_wire $(ARGS)

# -- benchmarks

.PHONY: benchmark
benchmark: $(VENV)/.installed peers ## measure txsocks5 beside other servers (ARGS="--help" for options)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: peers
peers: ## install the servers that the benchmarks measure beside txsocks5
	@tools/install-peers "$(PYTHON)" .venv-peers

# -- checks

.PHONY: lint
lint: $(VENV)/.installed-lint ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(VENV)/.installed-lint ## mend style and formatting where that can be done automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(VENV)/.installed-lint ## check the type annotations
	$(BIN)/mypy
	$(BIN)/mypy twisted/plugins/txsocks5_plugin.py

.PHONY: manifest
manifest: $(VENV)/.installed-lint ## check that the source distribution is complete
	$(BIN)/check-manifest

.PHONY: docs
docs: $(VENV)/.installed-docs ## build the documentation, with warnings as errors
	$(BIN)/python tools/apidocs.py
	$(BIN)/sphinx-build -q -E -n -W --keep-going -b html -d build/docs/doctrees docs build/docs/html
	@echo "The documentation is in build/docs/html."

.PHONY: reference
reference: $(VENV)/.installed ## write the list of the configuration's keys for the documentation
	$(BIN)/python tools/reference.py

.PHONY: news
news: $(VENV)/.installed-news ## show what the next release would say is new
	$(BIN)/towncrier build --draft --version next

.PHONY: dist
dist: $(VENV)/.installed-lint ## build the source distribution and the wheel
	@rm -rf build/dist txsocks5.egg-info/SOURCES.txt && mkdir -p build
	$(BIN)/python -m build --outdir build/dist . >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }

.PHONY: check-plugin
check-plugin: dist ## see that twistd finds the plugin, however it was installed
	tools/check-plugin "$(abspath $(BIN))/python" build/dist/*.whl

.PHONY: clean
clean: ## remove everything that was built or installed here
	rm -rf .venv .venv-* build dist *.egg-info
	rm -rf .hypothesis .mypy_cache .ruff_cache _trial_temp*
	find . '(' -name __pycache__ -o -name node_modules ')' -prune -exec rm -rf {} +
	find . -name dropin.cache -delete
