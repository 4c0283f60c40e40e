# What people reach for. Each target does its own set-up; nothing needs to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HASHED := $(BIN)/pip install --quiet --no-deps --require-hashes --no-build-isolation

.PHONY: help setup setup-dev run test coverage check bench rehearsal test-system test-images requirements images test-k8s compile model clean

help:  ## say what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(VENV)/.ready  ## create .venv with what a run needs; seconds when nothing changed
	@$(BIN)/comface fetch || echo "make: without these files the procedural generator runs alone; 'make setup' tries again."

setup-dev: setup $(VENV)/.ready-dev  ## and with what tests and checks need

# Every file of a package by its hash (docker/requirements.sh); what comes as source is built by the pinned setuptools.
$(VENV)/.ready: pyproject.toml docker/requirements-build.txt docker/requirements-gpu.txt
	sh .ci/make-venv $(PYTHON) $(VENV)
	$(HASHED) -r docker/requirements-gpu.txt
	$(BIN)/pip install --quiet --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready docker/requirements-dev.txt
	$(HASHED) -r docker/requirements-dev.txt
	@touch $@

run: setup  ## the whole pipeline on this machine: a registered model and its report
	$(BIN)/comface run

test: setup-dev  ## the default test suite
	$(BIN)/pytest

coverage: setup-dev  ## the default test suite with its coverage: a table, and pages in build/coverage/html
	$(BIN)/pytest --cov --cov-report=term --cov-report=html

check: setup-dev  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Those that need neither a GPU (benchmarks/gpu.sh), nor a finished run, nor checkouts of other projects.
BENCHMARKS := full_size generators leaks linear loading pretrain resolution screening simulations synthesize

bench: setup  ## what backs each performance claim, side by side
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

rehearsal: setup  ## every method (random weights where no file is at hand), task and mode, small, with the report
	$(BIN)/python benchmarks/random_weights.py runs/rehearsal/weights
	$(BIN)/comface run --config benchmarks/rehearsal.yaml --output runs/rehearsal --set weights=runs/rehearsal/weights

test-system: setup-dev  ## the long proofs: whole pipeline, crashes, S3 (with radosgw where it is), 10,000 mutated weight files
	-@sh .ci/need radosgw ceph-mon ceph-osd ceph-common radosgw
	$(BIN)/pytest -m system

test-k8s: setup-dev  ## the manifests: schemas, policies, alert rules (with promtool where it is)
	-@sh .ci/need promtool prometheus
	$(BIN)/pytest tests/k8s -rs -m 'system or not system'

compile: setup  ## pipelines/comface.py -> pipelines/comface.yaml; REGISTRY=host/path names the images there
	$(BIN)/python pipelines/comface.py $(REGISTRY)

model: setup  ## put the model of a finished run into the package (RUN=runs/laptop)
	$(BIN)/python .ci/ship_model.py $(or $(RUN),runs/laptop)

requirements: setup-dev  ## all hashed requirements, from pyproject.toml and constraints.txt
	sh docker/requirements.sh $(BIN)/uv

images: setup  ## build the images; REGISTRY=host/path pushes them and pins the pipeline by digest (docs/images.md)
	sh docker/build.sh
	$(BIN)/python pipelines/comface.py

test-images: setup-dev  ## build the images and run the whole pipeline inside them, read-only and without rights (root)
	sh docker/test-images.sh $(BIN)

clean:  ## remove the environment and the runs
	rm -rf $(VENV) build runs
