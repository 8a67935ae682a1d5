# `make` or `make help` lists what there is. Every target does its own set-up.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
.DEFAULT_GOAL := help
.PHONY: help setup repro test unit e2e lint format types doctor bench lock clean

help: ## Show this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Make .venv from requirements.lock (again only when that file changed)
	@.ci/setup $(VENV)

repro: setup ## The whole pipeline: images -> models -> reports/index.html (only what changed is done again)
	@$(BIN)/dvc repro

test: unit e2e ## All tests

# One thread per test process: two processes that each use every core wait for one another most of the time.
unit: setup ## The tests that take seconds
	@.ci/debian-packages
	OMP_NUM_THREADS=1 $(PYTEST) -m "not e2e" --numprocesses 2 --dist worksteal

e2e: setup ## The tests that run the whole pipeline on a tiny phantom
	$(PYTEST) -m e2e --timeout 900

lint: setup ## Format and lint rules (ruff, hadolint)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/hadolint Dockerfile

format: setup ## Bring the code into that format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: setup ## Static types (mypy --strict)
	@$(BIN)/mypy --strict

doctor: setup ## Check this machine and say what to do about each problem
	@$(BIN)/cytoline doctor

bench: setup ## Measure the figures that the README quotes (hours; see benchmarks/)
	@$(BIN)/python -m benchmarks.pipeline

lock: ## Resolve requirements.in into requirements.lock anew (needs some minutes)
	@.ci/lock

clean: ## Remove caches of tools and memo; data, models, reports and .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .cytoline/memo
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
