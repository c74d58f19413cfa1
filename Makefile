# make repro [SCALE=quick|laptop|workstation|paper] | test | test-numeric | lint | ui | docs | bench | clean.
# Every target makes .venv first if it is missing.
SCALE ?= quick
SHELL := /bin/bash
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
# A relative path, because make splits names at blanks and the path of this project may contain one.
VENV := .venv
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Keeps what Python has compiled, whatever the shell sets: otherwise half of every start goes into compiling imports.
export PYTHONDONTWRITEBYTECODE :=
export MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/mlruns.db

.PHONY: install repro test test-numeric lint ui docs bench clean
install: $(STAMP)

# uv installs in a fifth of pip's time; pip takes over where uv fails. Both use the same indexes.
$(STAMP): pyproject.toml constraints.txt tools/install.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python tools/install.py -c $(CONSTRAINTS) -e '.[pipeline,explore,onnx,dev]'
	touch $(STAMP)
# A download without Git history works too: dvc only has to be told that there is no Git.
	@[ -e .git ] || $(VENV)/bin/dvc config -q --local core.no_scm true

# Every stage, table and figure at a scale: quick takes minutes and leaves committed files alone; laptop, the scale of
# params.yaml as in `dvc repro`, makes the committed tables.
repro: install
	python tools/repro.py $(SCALE)

# The tests judge real networks by real photographs, so they need what `prepare` fetches (once). Meanwhile Python and
# numba compile what every worker would otherwise compile for itself.
test: install
	python -m tests.faults.warm & dvc repro -q prepare && OMP_NUM_THREADS=1 pytest -n auto --dist worksteal; \
	code=$$?; wait; exit $$code

# Only the tests of floating-point results, rounded as on another processor: ATEN_CPU_CAPABILITY (default, avx2, avx512)
# limits torch's own kernels, ONEDNN_MAX_CPU_ISA (SSE41, AVX2, AVX512_CORE) convolutions, MKL_ENABLE_INSTRUCTIONS
# (SSE4_2, AVX2, AVX512) matrix products, OMP_NUM_THREADS all of them. TESTS=... selects files.
test-numeric: install
	dvc repro -q prepare
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} pytest -n auto --dist worksteal -m numeric $(TESTS)

lint: install
	ruff check .
	ruff format --check .
	lint-imports

# MLflow also shows trainings that are still running: `--follow` copies their metrics until the UI ends.
ui: install
	mlflow db upgrade "$$MLFLOW_TRACKING_URI" 2>/dev/null
	python -m reports.publish
	@echo "trainings:   http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART"
	@echo "evaluations: http://127.0.0.1:5000/#/experiments/2/runs?workflowType=machine_learning&compareRunsMode=CHART"
	@echo "generators:  http://127.0.0.1:5000/#/experiments/6/runs?workflowType=machine_learning&compareRunsMode=CHART"
	python -m reports.publish --follow & trap "kill $$!" EXIT; \
	mlflow ui --backend-store-uri "$$MLFLOW_TRACKING_URI" --host 127.0.0.1 --workers 1

# The pages of docs/ with the reference of the public API, into build/docs; a warning is an error. Only this needs mkdocs.
docs: $(VENV)/.docs
	mkdocs build

$(VENV)/.docs: $(STAMP)
	$(VENV)/bin/python tools/install.py -c $(CONSTRAINTS) -e '.[docs]'
	touch $@

bench: install
	python -m benchmarks

clean:
	rm -rf $(VENV) build scratch .pytest_cache .ruff_cache
