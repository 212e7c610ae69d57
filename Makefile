# `make demo` and `make test` set everything up in .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check bench clean

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23.1"
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --quiet --no-deps --editable .
	touch .venv/ready

demo: setup
	$(BIN)/glmdata build --corpus examples/corpus --out demo --fresh
	$(BIN)/glmdata inspect demo
	$(BIN)/glmdata inspect demo --sample 1

# Kernels are compiled by both processors at once; two processes that test would each compile what they meet.
test: setup
	$(BIN)/python -m glmdata.precompile 2
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# CORPUS=DIR measures on your own text.
bench: setup
	$(BIN)/python benchmarks/build.py --corpus $(or $(CORPUS),examples/corpus)

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache
