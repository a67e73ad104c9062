# `make quickstart` and `make test` need Python >= 3.11, git and make, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test format clean

quickstart: $(VENV)/.experiments
	$(BIN)/python experiments/train.py --config=configs/bundled_victim.py:vgg13
	$(BIN)/python experiments/evaluate.py --config=configs/evaluate.py
	$(BIN)/python experiments/attack.py --config=configs/quickstart.py

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -n logical --dist loadfile

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old: give make PYTHON=python3.11 or newer"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.experiments: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt -e '.[experiments]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt -e '.[experiments,dev]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .hypothesis *.egg-info
