# make demo: from nothing to a trained, sampled and measured model.  make test: the tests.  Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# Without a GPU the CPU build of torch is enough, and gigabytes smaller. Where pip knows of none, it is PyTorch's own index.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test test-all lint format types setup clean

demo: $(STAMP)
	$(BIN)/sumi demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "slow or not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyrefly check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sumi needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ "$$(uname)" != Linux ] || nvidia-smi >/dev/null 2>&1; then $(PIP) $(TORCH); \
	else $(PIP) $(TORCH)+cpu 2>/dev/null || $(PIP) --index-url $(CPU_INDEX) $(TORCH); fi
	$(PIP) -e '.[dev]'
	@! $(BIN)/python -c 'import torchvision' 2>/dev/null || echo "note: torchvision is installed in $(VENV); a build of it that does not fit torch breaks diffusers"
	touch $(STAMP)

clean:
	rm -rf $(VENV)
