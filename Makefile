# Every target sets up what it needs in .venv, from a bare Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
OUT ?= demo-output
FULL ?=

.PHONY: demo test test-torch test-cuda-compile bench docs lint clean

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

$(VENV)/torch.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group test --group torch
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
	$(BIN)/python -m pytest

# The tests that `make test` skips where torch is missing.
test-torch: $(VENV)/torch.stamp
	$(BIN)/python -m pytest tests/transport/test_ot_tensors.py

# The CUDA kernels for real chips, on any machine; `pytest --gpu` runs them where there is one.
test-cuda-compile: $(VENV)/cuda.stamp
	$(BIN)/python tests/compile_cuda.py

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
	rm -rf $(VENV) $(OUT) benches/report docs/_build docs/made build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
