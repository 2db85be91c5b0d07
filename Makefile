# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock
SHARED ?= ../shared

.PHONY: demo test lint results cmake-lists clean

demo: $(VENV)/demo.stamp
	$(BIN)/medfusion demo --output demo

test: $(VENV)/test.stamp lint
	$(BIN)/python -m pytest

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The leader board and the benchmark again, and docs/RESULTS.md from their JSON.
results: $(VENV)/test.stamp
	$(BIN)/python -m MedFusionLib.evaluation.results_page --shared $(SHARED)

# CMake installs only the files it names; run this after adding or removing one.
cmake-lists: $(VENV)/test.stamp
	$(BIN)/python Resources/update_cmake_lists.py

$(VENV)/venv.stamp:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'MedFusion needs Python 3.10 or newer; call make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch first and alone: its CPU build satisfies every later requirement.
$(VENV)/demo.stamp: $(VENV)/venv.stamp requirements.lock pyproject.toml
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[cli,slicer]'
	touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp
	$(PIP) --editable '.[cli,slicer,train,evaluate,dicom,batch,test]'
	touch $@

clean:
	rm -rf $(VENV) demo build
