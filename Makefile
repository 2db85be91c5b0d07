# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock
SHARED ?= ../shared

# One process per core for tests that use one core each; files keep their shared fixtures.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadscope
# What must not depend on the processor, run as on two weaker ones.
NUMERIC_TESTS := Testing/Parity Testing/Unit/test_methods.py Testing/Unit/test_metrics.py \
	Testing/Unit/test_asfe_method.py Testing/Unit/test_dmfnet.py Testing/Unit/test_live.py \
	Testing/Unit/test_trained_methods.py

.PHONY: demo test test-weaker wheel lint results cmake-lists clean

demo: $(VENV)/demo.stamp
	$(BIN)/medfusion demo --output demo

test: $(VENV)/test.stamp lint wheel test-weaker
	$(PYTEST)

test-weaker: $(VENV)/test.stamp
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
		$(PYTEST) $(NUMERIC_TESTS)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
		$(PYTEST) $(NUMERIC_TESTS)

# The wheel alone, in an environment of its own and outside the checkout, must run the demo.
wheel: $(VENV)/test.stamp
	rm -rf build/wheel build/fresh
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock torch==2.13.0
	build/fresh/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock build/wheel/*.whl
	cd build/fresh && bin/medfusion demo --output pictures

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The leader board, what a reader sees and the benchmark again, and docs/RESULTS.md from their JSON.
# LEGIBILITY_PAIRS=24 judges what a reader sees on 24 pairs of each set: without it, on all.
results: $(VENV)/test.stamp
	$(BIN)/python -m MedFusionLib.evaluation.results_page --shared $(SHARED) \
		$(if $(LEGIBILITY_PAIRS),--sample $(LEGIBILITY_PAIRS))

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
	$(PIP) --editable '.[cli,slicer,train,evaluate,batch,stream,test]'
	touch $@

clean:
	rm -rf $(VENV) demo build
