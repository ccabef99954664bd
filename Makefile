# make demo: everything once, on the built-in data; a second time it goes on with what is there. make test: the tests. Each sets up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := work_dirs/demo
CONFIG := configs/sarlp/sarlp_r18_digits_p0.1.py
TEST_PROCESSES ?= 2

.PHONY: help install demo test test-slow test-tutorial lint docs clean

help:
	@echo "make demo           train SARLP on the built-in digits with 10 % of the labels known, test it, draw its maps"
	@echo "make test           run the tests"
	@echo "make test-slow      run the slow tests: killed runs, long ones, many damaged files"
	@echo "make test-tutorial  run docs/your_data.md as it stands, half an hour"
	@echo "make lint           check style and types"
	@echo "make docs           build the documentation as a site, build/docs/index.html"
	@echo "make install        only make $(VENV) and install sarlp into it"

# the stamp is newer than what it depends on, so a changed requirement installs again. Of every editable install setuptools
# warns over ten lines
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml setup.py requirements/constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(f"Python 3.10 or newer is needed, {sys.executable} is {v[0]}.{v[1]}; try make PYTHON=python3.11") if v < (3, 10) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -W 'ignore:Editable installation' -m pip install --quiet --editable '.[dev]' --constraint requirements/constraints.txt
	touch $@

demo: install
	$(BIN)/python tools/dataset_converters/digits.py --out data/digits
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(DEMO) --resume
	$(BIN)/python tools/test.py $(CONFIG) $(DEMO) --work-dir $(DEMO) --out $(DEMO)/results
	$(BIN)/python tools/visualize_cam.py $(CONFIG) $(DEMO) --split train --max-images 12 --out-dir $(DEMO)/maps
	$(BIN)/python tools/analysis_tools/report.py $(DEMO)

test: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow

test-tutorial: install
	$(BIN)/python -m pytest -m tutorial

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# strict: a broken link or a docstring that is no reStructuredText fails
docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

clean:
	rm -rf build docs/api dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
