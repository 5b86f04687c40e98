# make demo: from nothing to a trained, sampled and measured model.  make studio: a page in the browser to make, train
# and look.  make test: the tests.  make docs: the documentation.
# Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# Without a GPU the CPU build of torch is enough, and gigabytes smaller. Where pip knows of none, it is PyTorch's own index.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# The toolkits that tests import models from, without their own requirements, which would bring torchvision.
TOOLKITS := denoising-diffusion-pytorch ema-pytorch einops k-diffusion

# The processors that the tests are run as: the flag of /proc/cpuinfo that each needs, and the limits for torch and oneDNN.
PROCESSORS := sse4_1:default:SSE41 avx2:avx2:AVX2 avx512bw:avx512:AVX512_CORE avx512_bf16:avx512:AVX512_CORE_BF16 \
  amx_tile:avx512:AVX512_CORE_AMX

.PHONY: demo studio browser test test-all test-processors docs lint format types setup peers clean

demo: $(STAMP)
	$(BIN)/sumi demo

studio: $(STAMP)
	$(BIN)/sumi studio

# Chromium, in which the tests try the studio; without it they are skipped
browser:
	command -v chromium || apt-get install -y chromium

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "slow or not slow"
	$(MAKE) test-processors

# Rounding in float32 depends on the instruction set and on the number of threads; no test may. What torch compiles for
# one processor does not run as another, so each has a cache of its own.
test-processors: $(STAMP)
	@for processor in $(PROCESSORS); do \
	  set -- $$(echo $$processor | tr : ' '); \
	  grep -qsw $$1 /proc/cpuinfo || { echo "skipped: no $$1 in /proc/cpuinfo"; continue; }; \
	  export ATEN_CPU_CAPABILITY=$$2 ONEDNN_MAX_CPU_ISA=$$3 TORCHINDUCTOR_CACHE_DIR=$(abspath $(VENV))/.compiled/$$2; \
	  for threads in 1 2; do \
	    echo "ATEN_CPU_CAPABILITY=$$2 ONEDNN_MAX_CPU_ISA=$$3 OMP_NUM_THREADS=$$threads"; \
	    OMP_NUM_THREADS=$$threads $(BIN)/python -m pytest -q -n $$((3 - threads)) || exit 1; \
	  done; \
	done

# the site, site/index.html: the reference is written first, links and blocks are checked, then the pages are built
docs: $(VENV)/.docs
	$(BIN)/python -m scripts.reference
	$(BIN)/zensical build --clean --strict
	$(BIN)/python .ci/documents.py --check

$(VENV)/.docs: $(STAMP)
	$(PIP) -e '.[docs]'
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyrefly check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(STAMP)

# what benchmarks/ compares with, besides $(TOOLKITS); none of it is needed otherwise
peers: $(STAMP)
	$(PIP) --no-deps azula==0.11.1 torchdiffeq==0.2.5 torchsde==0.2.6 trampoline==0.1.2 dctorch==0.1.2 accelerate==1.15.0 \
	  psutil==7.2.2 jsonmerge==1.9.2 jsonschema==4.26.0 jsonschema-specifications==2025.9.1 referencing==0.37.0 \
	  rpds-py==2026.9.1 attrs==26.1.0
	$(PIP) webdataset==1.0.2 datasets==5.2.0

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sumi needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ "$$(uname)" != Linux ] || nvidia-smi >/dev/null 2>&1; then $(PIP) $(TORCH); \
	else $(PIP) $(TORCH)+cpu 2>/dev/null || $(PIP) --index-url $(CPU_INDEX) $(TORCH); fi
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps $(TOOLKITS)
	@! $(BIN)/python -c 'import torchvision' 2>/dev/null || echo "note: torchvision is installed in $(VENV); a build of it that does not fit torch breaks diffusers"
	touch $(STAMP)

clean:
	rm -rf $(VENV)
