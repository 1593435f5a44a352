# Everything a developer types. Each target sets up what it needs; `make setup` takes a moment when all is there.
.DEFAULT_GOAL := help
.PHONY: help demo test setup clean

PY := .venv/bin/python

help:   ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup   ## a digit reader on a simulated Arduino Uno, a Cortex-M4 and this machine
	@$(PY) examples/digits/demo.py

test: setup   ## style, types, tests, and the wheel in a clean environment
	$(PY) -m ruff check .
	$(PY) -m mypy --strict
	$(PY) -m pytest -n 2
	.ci/wheel.sh $(PY)

setup:   ## .venv with everything, cross compilers and simulators (installs only what is missing)
	@.ci/setup.sh

clean:   ## remove all that can be made again, .venv too
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
