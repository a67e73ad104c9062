# `make quickstart` and `make test` need Python >= 3.11, git and make, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# of p1 and p0: quick or paper; a data set; trained victims; where runs and tables go
SETTING ?= quick
DATA ?= bundled
VICTIMS ?= bundled/vgg13,bundled/crnn,bundled/gcnn,bundled/dense_mel,bundled/dense_wav
RUNS ?= runs/p1
TABLES ?= $(RUNS)/tables
# more flags for the attacks, such as --config.data.clips_per_class=2
UNTARGETED ?=
TARGETED ?=

.PHONY: quickstart p1 p0 test format clean

quickstart: $(VENV)/.experiments
	$(BIN)/python experiments/train.py --config=configs/bundled_victim.py:vgg13
	$(BIN)/python experiments/evaluate.py --config=configs/evaluate.py
	$(BIN)/python experiments/attack.py --config=configs/quickstart.py

p1: $(VENV)/.experiments
	$(BIN)/python experiments/evaluate.py --config=configs/evaluate.py \
	  --config.victim=$(VICTIMS) --config.data.root=$(DATA) \
	  --config.data.split=train,test --config.workdir=$(RUNS)/accuracy
	$(BIN)/python experiments/attack.py --config=configs/p1_untargeted.py:$(SETTING) \
	  --config.victim=$(VICTIMS) --config.data.root=$(DATA) \
	  --config.workdir=$(RUNS)/untargeted $(UNTARGETED)
	$(BIN)/python experiments/attack.py --config=configs/p1_targeted.py:$(SETTING) \
	  --config.victim=$(VICTIMS) --config.data.root=$(DATA) \
	  --config.workdir=$(RUNS)/targeted $(TARGETED)
	$(BIN)/python experiments/transfer.py --config=configs/transfer.py \
	  --config.sources=$(RUNS)/untargeted --config.victims=$(VICTIMS) \
	  --config.workdir=$(RUNS)/transfer
	$(BIN)/python experiments/report.py --config=configs/report.py \
	  --config.runs=$(RUNS) --config.out=$(TABLES)

p0: $(VENV)/.experiments
	$(BIN)/python experiments/transforms.py --config=configs/p0_transforms.py \
	  --config.sources=$(RUNS)/untargeted,$(RUNS)/targeted \
	  --config.victims=$(VICTIMS) --config.workdir=$(RUNS)/transforms_paper

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
