# The one task runner. A bare machine needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv does not look where pip looks for local wheels: pass the place on, if there is one.
FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
INSTALL := $(if $(FIND_LINKS),UV_FIND_LINKS="$(FIND_LINKS)" )VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/uv pip install --quiet --compile-bytecode -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt lint types arch docs clean

help: ## Show the tasks
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, {sys.version.split()[0]} was found; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# The development install holds the demo's; where it is there, it is the one that is brought up to date.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing into $(VENV) (a minute or two) ..."
	@$(INSTALL) -e '.[$(if $(wildcard $(VENV)/.dev),dev,demo)]'
	@touch $@ $(wildcard $(VENV)/.dev)

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing into $(VENV) (a minute or two) ..."
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo

setup: $(VENV)/.dev ## Create .venv with everything for development

demo: $(VENV)/.demo ## Take real photographs through the whole workflow
	$(BIN)/rddm demo

test: $(VENV)/.dev ## Run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.dev ## Format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## Lint
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Check the types
	$(BIN)/mypy

arch: $(VENV)/.dev ## Check what imports what
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## Check the documents: links, commands, verbs
	$(BIN)/python -m pytest tests/docs

clean: ## Remove caches and builds; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
