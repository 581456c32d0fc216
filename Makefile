# make demo | test | test-all | test-browser | lab | bench | docs | readme | clean
# Each target makes its own environment in .venv on first use (Python 3.10 to 3.13; a C++ compiler for the native kernels).

# Idle OpenMP threads sleep instead of spinning: on a machine that does something else as well, spinning costs a factor of ten and more.
export OMP_WAIT_POLICY ?= passive

VENV ?= .venv
BIN  := $(VENV)/bin
OK   := $(VENV)/.installed

# `make docs` writes a static site to _docs; `make test-browser` drives JupyterLab in a headless Chromium

.PHONY: demo test test-all test-browser docs lint lab bench readme export clean env
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
	$(BIN)/python -m rgbx_seg.dev.browser --need

docs: $(OK)
	$(BIN)/python -m rgbx_seg.dev.docs

lint: $(OK)
	$(BIN)/python -m rgbx_seg.dev.lint --limits nbs/dev/limits.json

lab: $(OK)
	$(BIN)/jupyter lab nbs

bench: $(OK)
	$(BIN)/python kernels/bench.py
	$(BIN)/python kernels/bench_models.py

export: $(OK)
	$(BIN)/python -m rgbx_seg.dev.tests --what pyproject
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean

readme: $(OK)
	$(BIN)/python -m rgbx_seg.dev.tests --what readme

clean:
	rm -rf $(VENV) build *.egg-info rgbx_seg/_kernels*.so
