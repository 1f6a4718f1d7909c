# Everything runs in .venv, which is made from requirements.lock when it is needed. PATH does not matter,
# but for the Python that makes it:  make demo PYTHON=/usr/bin/python3.12

PYTHON ?= python3
SIZE ?= 1GB
JSON ?= bench.json
KEEP ?=
CHART ?= revenue.svg

VENV := .venv/bin/python
STAMP := .venv/installed
PIP := $(VENV) -m pip --disable-pip-version-check install --quiet --no-input

.DEFAULT_GOAL := help
.PHONY: help install demo demo-export test bench lint lock clean

help:  ## this list
	@echo "make ..."
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

install: $(STAMP)  ## make .venv with everything that is in requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || { \
		echo "This project needs Python 3.11 to 3.14, and \`$(PYTHON)\` is: $$($(PYTHON) --version 2>&1)"; \
		echo "Name another one:  make $(firstword $(MAKECMDGOALS) install) PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Installing into .venv, once; a minute or two ..."
	@$(PYTHON) -m venv .venv
	@# Without its resolver: the lock is complete, and pip 23 would look for `sqlalchemy[asyncio]` beyond it.
	@$(PIP) --require-hashes --no-deps -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## back up, lose and restore a database, with proof; KEEP=1 keeps the parts running
	@KEEP=$(KEEP) $(VENV) -m deployments.demo

demo-export: $(STAMP)  ## a backup as Parquet files, and a question to DuckDB; CHART=revenue.svg
	@$(VENV) -m deployments.demo_export --chart $(CHART)

test: lint  ## lint, then all tests
	$(VENV) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

bench: $(STAMP)  ## compare with mongodump, mongorestore; SIZE=1GB JSON=bench.json
	@$(VENV) -m deployments.bench --size $(SIZE) --json $(JSON)

lint: $(STAMP)  ## ruff and mypy
	$(VENV) -m ruff check
	$(VENV) -m ruff format --check
	$(VENV) -m mypy

lock:  ## write both lock files anew from pyproject.toml; needs uv
	@command -v uv > /dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --all-extras \
		--no-emit-package mongo-backup-flows pyproject.toml -o requirements.lock
	@# For the image: what runs need, in the same versions, and neither demo nor tests.
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-package mongo-backup-flows -c requirements.lock pyproject.toml -o requirements-run.lock

clean:  ## remove .venv and what tools have left
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
