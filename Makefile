# Everything a fresh machine needs is Python >= 3.10 with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := demo-output

.PHONY: install demo test test-slow lint proto clean

install: $(STAMP)

# Installed once; again when a dependency or the contract changes.
$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard protos/painterly/v1/*.proto)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python >= 3.10 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/painterly weights fetch vgg16 u2net
	$(BIN)/painterly harmonize examples/photos/coffee.jpg examples/paintings/hokusai_great_wave.jpg \
		--output $(DEMO)/result.png --at 0.53,0.79 --height 0.3 --rotate -12 --preset draft \
		--frames $(DEMO)/frames --report $(DEMO)/report.html --keep $(DEMO)/work

test: install
	$(BIN)/python -m pytest

# Also the tests that take longer; `gpu` ones skip themselves where there is no device.
test-slow: install
	$(BIN)/python -m pytest -m 'slow'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint

proto: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .

clean:
	rm -rf $(VENV) $(DEMO)
