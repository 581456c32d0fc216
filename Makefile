# make demo | test | test-all | test-browser | fuzz | lint | lab | new | hooks | bench | docs | export | readme | clean
# Each target makes its own environment in .venv on first use (Python 3.10 to 3.13; a C++ compiler for the native kernels).

# Idle OpenMP threads sleep instead of spinning: on a machine that does something else as well, spinning costs a factor of ten and more.
export OMP_WAIT_POLICY ?= passive

# `make VENV=... hooks` keeps its own environment in git's configuration, so that a commit uses it
VENV ?= $(or $(shell git config rgbx.venv 2>/dev/null),.venv)
BIN  := $(VENV)/bin
OK   := $(VENV)/.installed

# `make docs` writes a static site to _docs; `make test-browser` drives JupyterLab in a headless Chromium (ALL=1: every tutorial)

.PHONY: demo test test-all test-browser fuzz docs lint lint-fast lab new hooks in-step bench readme export clean env
.DEFAULT_GOAL := demo

env: $(OK)

$(OK): settings.ini setup.py $(wildcard kernels/*.cpp kernels/*.h)
	@test -x $(BIN)/python || { \
	  for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.10; do \
	    if $$p -c 'import sys, venv; sys.exit(not (3,10) <= sys.version_info[:2] <= (3,13))' 2>/dev/null; then found=$$p; break; fi; done; \
	  test -n "$$found" || { echo 'No Python 3.10 to 3.13 found; name one: make PYTHON=/path/to/python'; exit 1; }; \
	  echo "making $(VENV) with $$($$found --version)"; $$found -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo 'OpenCV lacks system libraries here (libGL ...): taking opencv-python-headless instead'; \
	  $(BIN)/python -m pip uninstall --quiet -y opencv-python && $(BIN)/python -m pip install --quiet opencv-python-headless; }
	@touch $@

demo: $(OK)
	$(BIN)/python -m rgbx_seg.demo

test: $(OK)
	$(BIN)/python -m rgbx_seg.dev.tests --only "$(ONLY)"

test-all: $(OK)
	$(BIN)/python -m rgbx_seg.dev.tests --flags 'slow ddp cuda'

test-browser: $(OK)
	$(BIN)/python -m rgbx_seg.dev.browser --need $(if $(ALL),--tutorials all)

fuzz: $(OK)   # make fuzz N=10000 SEED=1 KINDS='picture card'; make fuzz ONE=picture:1234 shows one again
	$(BIN)/python -m rgbx_seg.dev.fuzz -n $(or $(N),1000) --seed $(or $(SEED),0) $(if $(KINDS),--kinds $(KINDS)) $(if $(ONE),--one $(ONE))

docs: $(OK)
	$(BIN)/python -m rgbx_seg.dev.docs

lint: $(OK)
	$(BIN)/python -m rgbx_seg.dev.lint --limits nbs/dev/limits.json

lint-fast: $(OK)   # without the import times
	$(BIN)/python -m rgbx_seg.dev.lint --limits nbs/dev/limits.json --no-time

new: $(OK)   # make new NAME=fusion/60_mine
	@$(BIN)/python -m rgbx_seg.dev.new $(NAME)

hooks: $(OK)   # what a commit runs, and how git merges notebooks
	$(BIN)/pre-commit install
	git config rgbx.venv '$(VENV)'
	git config merge.nbdev-merge.name 'notebooks, cell by cell'
	git config merge.nbdev-merge.driver '$(BIN)/nbdev-merge %O %A %B %P'

in-step: $(OK)   # what the hook runs: write everything that is written from notebooks, and say what a commit lacks
	@$(MAKE) -s export readme
	@left=$$(git diff --name-only -- nbs rgbx_seg README.md pyproject.toml; git ls-files --others --exclude-standard -- nbs rgbx_seg); \
	test -z "$$left" || { echo 'not in the commit yet (written from the notebooks, cleaned, or new):'; echo "$$left" | sed 's/^/  git add /'; exit 1; }

lab: $(OK)
	$(BIN)/jupyter lab nbs

bench: $(OK)
	$(BIN)/python kernels/bench.py
	$(BIN)/python kernels/bench_models.py

export: $(OK)
	$(BIN)/python -m rgbx_seg.dev.tests --what pyproject
	$(BIN)/nbdev-export
	@$(BIN)/python -m rgbx_seg.dev.tests --what left-over
	$(BIN)/nbdev-clean

readme: $(OK)
	$(BIN)/python -m rgbx_seg.dev.tests --what readme

clean:
	rm -rf $(VENV) build *.egg-info rgbx_seg/_kernels*.so
