# Every command sets itself up from nothing: an environment in .venv, with the versions in constraints.txt.

PYTHON ?= python3
VENV ?= .venv
OUT ?= elsewhere-demo
BIN := $(VENV)/bin
KERNELS := src/elsewhere/engine/kernels
LOOPS := $(wildcard $(KERNELS)/*.[ch]) $(KERNELS)/build.py
SANITIZED := build/sanitized/kernels-sanitized.so
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint sanitize wheel docs site benchmark clean

help: ## Say what each command does.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/core.stamp ## Draw with formulas and trained networks from the same noise, and report how well they agree.
	$(BIN)/elsewhere demo --out $(OUT)
	@echo "Open $(OUT)/report.html in a browser."

# Two workers with one thread each take half the time that one with two threads takes.
test: lint ## Check format, style and types, then run all tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/dev.stamp ## Check format, style and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Any error ends the run. Python itself is not sanitised: leaks of it say nothing. The C++ library is loaded first as
# well, because the sanitiser must find how torch throws exceptions before it sees the first.
sanitize: $(SANITIZED) ## Run the tests of engine and machines with loops that check every access to memory and every sum.
	ELSEWHERE_KERNELS=$(abspath $<) ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so.6)" \
		$(BIN)/python -m pytest tests/engine tests/machines

$(SANITIZED): $(LOOPS) $(VENV)/dev.stamp
	CC="$(CC)" $(BIN)/python $(KERNELS)/build.py sanitized --folder $(@D)

# The wheel is made from the source distribution, so that both are complete. The environments that test them have no
# compiler on their PATH, no other folders than their own, and do not see this checkout.
wheel: $(VENV)/dev.stamp ## Build dist/, and test wheel and source distribution without a compiler, at every level.
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/wheel/env
	cp scripts/check_wheel.py build/wheel/
	cd build/wheel && $(ALONE) -m pip --disable-pip-version-check install --constraint $(abspath constraints.txt) $(abspath dist)/*.whl
	cd build/wheel && $(ALONE) check_wheel.py --expect-kernels
	cd build/wheel && $(ALONE) -m pip --disable-pip-version-check install --no-deps --force-reinstall $(abspath dist)/*.tar.gz
	cd build/wheel && $(ALONE) check_wheel.py --expect-none
	@ls -l dist

ALONE := PATH=$(abspath build/wheel/env/bin) $(abspath build/wheel/env/bin)/python -I

docs: $(VENV)/dev.stamp ## Write docs/command-line.md from the --help of every command, and the table of machines.
	$(BIN)/python scripts/command_line_docs.py
	$(BIN)/python scripts/machine_docs.py

# MkDocs' strict mode turns every warning into an error; the hooks in scripts/site_*.py warn of missing docstrings. The
# variable turns off a note about the future of MkDocs that its theme prints.
site: $(VENV)/site.stamp ## Build the manual into build/site; a broken link or a missing public docstring fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python scripts/check_site.py build/site
	@echo "Open build/site/index.html in a browser."

benchmark: $(VENV)/dev.stamp ## Measure speed and memory against plain implementations.
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file --out benchmarks/results || exit 1; done

clean: ## Remove the environment and all caches.
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

SOURCES := pyproject.toml constraints.txt hatch_build.py $(LOOPS)

$(VENV)/core.stamp: $(SOURCES)
	$(call install,.)
	@touch $@

$(VENV)/site.stamp: $(SOURCES)
	$(call install,.[site])
	@touch $(VENV)/core.stamp $@

$(VENV)/dev.stamp: $(SOURCES)
	$(call install,.[dev])
	@touch $(VENV)/core.stamp $(VENV)/site.stamp $@

define install
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: $(PYTHON) was not found: install Python 3.11 or later, or name one, as in make demo PYTHON=python3.12"; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V): name another, as in make demo PYTHON=python3.12"; \
		exit 1; }
	@echo "Setting up $(VENV); the first time this takes some minutes, most of them for PyTorch."
	@$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable '$(1)'
endef
