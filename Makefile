# Everything a developer runs. Needs make and Python 3.11 or newer (with venv), nothing else.
# `make help` lists the targets; `.ci/run` runs all of them, as CI does.

VENV   ?= .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
# Worker processes of pytest. One of them is with the clusters and waits most of its time.
JOBS   ?= 3
PYTEST_ARGS ?=

# The first interpreter that runs, is new enough and can make a virtual environment.
# (A name on the path is not enough: version managers leave names that only print an error.)
PROBE  := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do \
	if $$p -c '$(PROBE)' >/dev/null 2>&1; then echo $$p; break; fi; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv test test-kube kube demo lint format format-check types contracts migrations-check docs docs-check wheel-check images overlays agree protocol bench kind-up kind-demo kind-down mutants clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

venv: $(VENV)/.installed  ## make or refresh the virtual environment

# Two stamps: a change of pyproject.toml alone does not resolve 90 packages again.
$(VENV)/.requirements: requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer with venv was found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PY) -c '$(PROBE)' >/dev/null 2>&1 || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	$(PY) -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.requirements pyproject.toml
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

test: venv  ## run every test
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

kube: venv  ## find the programs of a test Kubernetes, or build them once (Go 1.26, minutes)
	PYTHONPATH=tests $(PY) -m support.kube.build

test-kube: kube  ## run the tests on real Kubernetes alone, and skip none of them
	REQUIRE_KUBE=1 $(PY) -m pytest -n 2 --dist loadfile -m kube $(PYTEST_ARGS)

demo: venv  ## run the whole story on real parts, under three minutes
	$(PY) deploy/demo/run.py

kind-up: venv  ## a control plane and two regions on a cluster of kind (needs Docker)
	$(PY) deploy/kind/kind.py up

kind-demo: venv  ## the demo's story on that cluster
	$(PY) deploy/kind/kind.py demo

kind-down: venv  ## remove that cluster
	$(PY) deploy/kind/kind.py down

lint: venv  ## ruff's rules
	$(PY) -m ruff check .

format: venv  ## rewrite the code in the one format
	$(PY) -m ruff format .

format-check: venv  ## fail where `make format` would change something
	$(PY) -m ruff format --check .

types: venv  ## mypy, strict
	$(PY) -m mypy

contracts: venv  ## which package may import which
	$(PY) -c 'import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())'

migrations-check: venv  ## the tables and the migrations say the same, on a fresh embedded PostgreSQL
	$(PY) -m nordan_core.embedded.temporary sh -c \
		'$(PY) -m nordan_core.store.migrate && $(PY) -m nordan_core.store.migrate check'

docs: venv  ## write the pages that are made from the code
	$(PY) docs/generate_cli.py

docs-check: venv  ## the documents, commands and links shown in the docs are real
	$(PY) -m pytest -q tests/docs

wheel-check: venv  ## the built wheel holds the five packages and their data
	$(PY) tests/support/wheel_check.py

overlays: venv  ## kubectl renders every overlay (tests/deploy and tests/kube look at what comes out)
	@for overlay in deploy/overlays/*; do $(BIN)/kubectl kustomize $$overlay >/dev/null && echo "$$overlay" || exit 1; done

images: venv  ## container images without Docker, on Debian 12, into dist/images
	$(PY) deploy/images/build_images.py

agree: venv  ## the core and a second judge answer a million drawn questions (many minutes)
	PYTHONPATH=tests $(PY) -m support.agreement --cases 1000000 --seed 1

protocol: venv  ## the state machine of the protocol on the real store, 500 runs by chance (many minutes)
	PROTOCOL_EXAMPLES=500 $(PY) -m pytest -q -s tests/api/test_protocol.py

mutants: venv  ## break each check of the residency core and see that a test fails (long; goes on where it stopped)
	PYTHONPATH=tests $(PY) -m mutation.run --thorough --workers $(JOBS) $(MUTANTS)

bench: venv  ## the benchmarks of docs/explanation/performance.md
	$(PY) benchmarks/submit.py
	$(PY) benchmarks/e2e.py

clean:  ## remove the virtual environment and all caches
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
