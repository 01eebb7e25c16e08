# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# One thread for each test process: two processes of one thread beat one of two.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Where nothing compiled is kept every process compiles all that it imports, which takes longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests check format site clean

demo: $(VENV)/.installed
	$(BIN)/h2rec quickstart --out runs/quickstart

# The checks take one core for a minute or two: tests run beside them.
test: $(VENV)/.installed
	@$(MAKE) --no-print-directory --jobs 2 check tests

tests: $(VENV)/.installed
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Most of what is installed is never imported; what is, is compiled then.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

site: $(VENV)/.installed
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) runs site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
