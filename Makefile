# Every target makes its own virtual environment: git, make and Python 3.11 or newer are enough.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= quickstart-output
WORKERS ?= 2

.PHONY: quickstart test test-fast lint format clean

quickstart: $(VENV)/.installed  ## train, register and map: on simulated scenes, or on real ones with DATA=/path
	$(BIN)/python -m examples.quickstart --out $(OUT) $(if $(DATA),--data $(DATA))

test: $(VENV)/.installed-dev  ## every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not alone"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m alone

test-fast: $(VENV)/.installed-dev  ## the tests without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

lint: $(VENV)/.installed-dev  ## ruff, mypy strict, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## apply ruff's formatting and safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Terraguild needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:  ## remove what the targets made
	rm -rf $(VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
