# Every target sets up what it needs in .venv, from a bare Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
OUT ?= demo-output
FULL ?=
N ?= 10000
SEED ?= 0
WHAT ?= transport


# Tests go to two workers, whose libraries take one thread each. Those of the mark `alone` measure
# time or memory and come after the others; those of devices, simulated, have a target of their own.
WORKERS ?= 2
SINGLE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST = env $(SINGLE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# What another processor, BLAS, numpy or Python could change: numbers, and files of models.
PORTABLE := tests/matrices tests/topology tests/test_system.py tests/tables/test_storage.py \
  tests/recommenders/test_equal_bits.py tests/solvers/test_ot_kernels.py \
  tests/transport/test_ot_solve.py tests/transport/test_ot_batch.py
SET ?= test
NEWEST ?= $(shell for python in python3.15 python3.14 python3.13 \
  $$(ls -d $$HOME/.pyenv/versions/3.1[3-9]*/bin/python 2>/dev/null | sort -rV); do \
  $$python -c "" 2>/dev/null && echo $$python && break; done)

.PHONY: demo test test-cuda-simulator test-torch test-jax test-cuda-compile fuzz bench docs lint clean
.PHONY: test-portable test-haswell test-generic test-lower test-newest

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

# One stamp for each set of packages, renewed when pyproject.toml changes.
$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[plot]"
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group test
	@touch $@

$(VENV)/lower.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python tests/lower_bounds.py > $(VENV)/lower.txt
	$(BIN)/python -m pip install --quiet --editable . --group test --constraint $(VENV)/lower.txt
	@touch $@

$(VENV)/torch.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group test --group torch
	@touch $@

$(VENV)/jax.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group test --group jax
	@touch $@

$(VENV)/cuda.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group test --group cuda
	@touch $@

$(VENV)/lint.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group lint
	@touch $@

$(VENV)/bench.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[bench,plot]" --group test
	@touch $@

$(VENV)/docs.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group docs
	@touch $@

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/transport.py --out $(OUT)
	$(BIN)/python examples/shop.py --out $(OUT) $(if $(DATA),--data "$(DATA)")

test: $(VENV)/test.stamp
	$(PYTEST) -m "not alone" --ignore=tests/devices
	$(BIN)/python -m pytest -m alone --ignore=tests/devices

# The CUDA kernels in numba's simulator; `pytest --gpu tests/devices` takes a device.
test-cuda-simulator: $(VENV)/test.stamp
	$(PYTEST) tests/devices

# What a machine could change, in the environment that VENV and SET name.
test-portable: $(VENV)/$(SET).stamp
	$(PYTEST) -m "not alone" $(PORTABLE)

# The BLAS kernels of processors without AVX-512: rows of a product differ by their place there.
test-haswell:
	OPENBLAS_CORETYPE=Haswell $(MAKE) test-portable

# Machine code for the plainest processor of this kind, without wide vectors or fused products.
test-generic:
	NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=$(CURDIR)/$(VENV)/numba-generic $(MAKE) test-portable

# The oldest versions that pyproject.toml promises to work with; they exist for Python 3.11 and 3.12.
test-lower:
	NUMBA_CACHE_DIR=$(CURDIR)/.venv-lower/numba $(MAKE) test-portable VENV=.venv-lower SET=lower

# The newest of everything, on the newest Python of this machine.
test-newest:
ifeq ($(NEWEST),)
	@echo "test-newest: skipped, there is no Python newer than 3.12 on this machine"
else
	NUMBA_CACHE_DIR=$(CURDIR)/.venv-newest/numba \
	  $(MAKE) test-portable VENV=.venv-newest PYTHON=$(NEWEST)
endif

# The tests that `make test` skips where torch is missing.
test-torch: $(VENV)/torch.stamp
	$(BIN)/python -m pytest tests/derivatives/test_ot_tensors.py tests/derivatives/test_ot_second_order.py \
	  tests/nn/test_nn_torch.py

# The tests that `make test` skips where jax is missing.
test-jax: $(VENV)/jax.stamp
	$(BIN)/python -m pytest tests/derivatives/test_ot_jax.py

# The CUDA kernels for real chips, on any machine; `pytest --gpu` runs them where there is one.
test-cuda-compile: $(VENV)/cuda.stamp
	$(BIN)/python tests/compile_cuda.py

# N random calls of the doors, judged by oracles: WHAT=transport or WHAT=tables.
fuzz: $(VENV)/test.stamp
	PYTHONPATH=tests $(BIN)/python -m fuzz --cases $(N) --seed $(SEED) --what $(WHAT)

# Under ten minutes; with FULL=1 all problems and peers, two hours.
# What fails does not take the report along.
bench: $(VENV)/bench.stamp
	status=0; \
	$(BIN)/python -m pytest benches --benchmark-only --benchmark-columns=min,median,iqr,rounds \
	  --benchmark-json=benches/latest.json $(if $(FULL),--full) || status=$$?; \
	$(BIN)/python benches/report.py benches/latest.json --figures benches/report && exit $$status

# Any warning fails; docs/made is what the build writes beside the sources.
docs: $(VENV)/docs.stamp
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky docs docs/_build

lint: $(VENV)/lint.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv-lower .venv-newest $(OUT) benches/report docs/_build docs/made build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
