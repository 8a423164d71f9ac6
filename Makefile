# make setup   a virtual environment in .venv with everything that setup.py names
# make demo    the main job on data that ship with a package: baseline, search, slimming, fine-tuning, export
# make test    lint, types, and all tests
# make quick   as test, without the slow tests

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test quick check clean

setup: .venv/ready

.venv/ready: setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/python train_cifar.py --config configs/ekg/digits.yaml --overwrite

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

quick: check
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'not slow'

clean:
	rm -rf .venv
