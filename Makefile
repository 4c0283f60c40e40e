# What people reach for. Each target does its own set-up; nothing needs to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup run test check bench ablation test-system test-images requirements images test-k8s compile clean

help:  ## say what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(VENV)/.ready  ## create .venv with everything; seconds when nothing changed
	@$(BIN)/comface fetch || echo "make: without these files the procedural generator runs alone; 'make setup' tries again."

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed; install it, or name it: make PYTHON=python3.12"; exit 64; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh .ci/venv-package $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: setup  ## the whole pipeline on this machine: a registered model and its report
	$(BIN)/comface run

test: setup  ## the default test suite
	$(BIN)/pytest

check: setup  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## what backs each performance claim, side by side
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

ablation: setup  ## at least 3 seeds of every ablation; prints the table with its spread (hours)
	$(BIN)/python benchmarks/ablation/run.py

test-system: setup  ## the long proofs: whole pipeline, crashes, S3, 10,000 mutated weight files (installs radosgw if it may)
	@command -v radosgw >/dev/null || apt-get install -y --no-install-recommends ceph-mon ceph-osd ceph-common radosgw || true
	$(BIN)/pytest -m system

test-k8s: setup  ## the manifests: schemas, policies, alert rules (installs promtool if it may)
	@command -v promtool >/dev/null || apt-get install -y --no-install-recommends prometheus || true
	$(BIN)/pytest tests/k8s -rs -m 'system or not system'

compile: setup  ## pipelines/comface.py -> pipelines/comface.yaml
	$(BIN)/python pipelines/comface.py

requirements: setup  ## the images' hashed requirements, from pyproject.toml and constraints.txt
	sh docker/requirements.sh $(BIN)/uv

images: setup  ## build the images; REGISTRY=host/path pushes them and pins the pipeline by digest (docs/images.md)
	sh docker/build.sh
	$(BIN)/python pipelines/comface.py

test-images: setup  ## build the images and run the whole pipeline inside them, read-only and without rights (root)
	sh docker/test-images.sh $(BIN)

clean:  ## remove the environment and the runs
	rm -rf $(VENV) runs
