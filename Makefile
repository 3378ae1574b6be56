# `make demo` and `make test` are all the set-up there is: each makes .venv itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The suite against the installed wheel runs where no source can be imported from.
WHEEL := build/wheel
AWAY := build/away

.PHONY: demo test test-all test-wheel crash lint bench clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/connwatch replay sample_logs/incident/conn.log sample_logs/incident/ss-*.txt --store build/demo
	$(BIN)/connwatch search 'destination.port: 4444' --limit 5 --store build/demo
	$(BIN)/connwatch alerts 'connwatch.evidence.process.name: *' --store build/demo
	$(BIN)/connwatch explain --store build/demo $$($(BIN)/connwatch alerts 'rule.name: "Port scan of one host"' --store build/demo --format ndjson | sed 's/.*"event":{"id":"\([0-9a-f]*\)".*/\1/')
	$(BIN)/connwatch alerts show --store build/demo $$($(BIN)/connwatch alerts 'process.name: backdoor and rule.name: *back-door*' --store build/demo --format csv | tail -1 | cut -d , -f 1)
	$(BIN)/connwatch replay sample_logs/incident/tcpdump.txt --store build/demo-packets

test: $(STAMP)
	CONNWATCH_EXAMPLES=15 $(BIN)/python -m pytest -q -m "not slow"

test-all: test-wheel
	$(BIN)/python -m pytest -q

test-wheel: $(STAMP)
	rm -rf $(WHEEL) $(AWAY)
	$(BIN)/python -m build --quiet --wheel --outdir $(WHEEL)
	$(PYTHON) -m venv $(AWAY)/venv
	$(AWAY)/venv/bin/python $(PIP) "$$(ls $(WHEEL)/*.whl)[plots]" cryptography hypothesis pytest
	cp -R README.md CHANGELOG.md docs deploy $(wildcard sample_logs) tests pyproject.toml $(AWAY)/
	cd $(AWAY) && CONNWATCH_KILLS=8 CONNWATCH_EXAMPLES=10 CONNWATCH_DATA="$${CONNWATCH_DATA:-$(CURDIR)/../shared/data}" venv/bin/python -m pytest -q -m "not slow and not source" -o testpaths=tests

# As many kills as KILLS says, or as MINUTES allow; what comes out is in build/crash.json too.
KILLS ?= 1000
MINUTES ?= inf
crash: $(STAMP)
	mkdir -p build
	CONNWATCH_KILLS=$(KILLS) CONNWATCH_KILL_MINUTES=$(MINUTES) CONNWATCH_CRASH_RESULT=$(CURDIR)/build/crash.json $(BIN)/python -m pytest -q -s tests/crash/test_kills.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pylint --disable=all --enable=duplicate-code --min-similarity-lines=8 --ignore-imports=y --ignore-signatures=y --score=n connwatch ingest detectors sinks

bench: $(STAMP)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.windows
	$(BIN)/python -m benchmarks.alerts
	$(BIN)/python -m benchmarks.indicators
	$(BIN)/python -m benchmarks.sockets
	$(BIN)/python -m benchmarks.tcpdump
	$(BIN)/python -m benchmarks.flows
	$(BIN)/python -m benchmarks.live

clean:
	rm -rf $(VENV) build dist *.egg-info
