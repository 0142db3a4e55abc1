# Every target builds the pinned environment first when it is missing, and not again when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONFIG ?= focal_tversky.yaml
ARGS ?=

.DEFAULT_GOAL := help

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## Build .venv from the pinned versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "medseg needs Python >= 3.11, $(PYTHON) is $$($(PYTHON) -V 2>&1); use make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

train: $(READY)  ## Train: make train CONFIG=focal_tversky.yaml ARGS="trainer.max_epochs=5"
	$(BIN)/medseg train $(CONFIG) $(ARGS)

test: $(READY)  ## Run the fast tests (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(READY)  ## Run the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu" $(ARGS)

test-gpu: $(READY)  ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu $(ARGS)

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## Write constraints.txt anew from a fresh environment with the newest versions
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet -e '.[dev]' torch==2.14.1 torchvision==0.29.1
	{ head -1 constraints.txt; $(VENV)-lock/bin/python -m pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf $(VENV)-lock

clean:  ## Remove the environment and caches; runs and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist

.PHONY: help install train test test-slow test-gpu lint format lock clean
