# Everything runs in .venv, which the first target that needs it creates; only Python 3.11 or newer and a package index
# are needed. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt
CHECKS := ruff-check ruff-format mypy pyright lint-imports wheel docs pytest

.PHONY: help demo test lint train-demo bench docs-serve constraints clean $(CHECKS)
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: $(VENV)/.installed ## Score the example trajectories and print a table
	@$(BIN)/rewardkit score examples/demo/math.jsonl --config examples/demo/math.toml --table || [ $$? = 1 ]
	@$(BIN)/python examples/demo/run.py

test: $(VENV)/.installed-all ## Run every check; what fails is named at the end
	@failed=; for check in $(CHECKS); do \
	  echo "== $$check"; $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed" >&2; exit 1; fi; echo "all checks passed"

lint: ruff-check ruff-format mypy pyright lint-imports ## Run the checks that read the code only

ruff-check: $(VENV)/.installed-all
	@$(BIN)/ruff check

ruff-format: $(VENV)/.installed-all
	@$(BIN)/ruff format --check

mypy: $(VENV)/.installed-all
	@$(BIN)/mypy

pyright: $(VENV)/.installed-all
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

lint-imports: $(VENV)/.installed-all
	@$(BIN)/lint-imports

wheel: $(VENV)/.installed-all ## Build the wheel and look into it
	@rm -rf dist && $(BIN)/python -m hatchling build --target wheel && $(BIN)/check-wheel-contents dist

docs: $(VENV)/.installed-all ## Build the documentation into site/
	@$(BIN)/python docs/generate.py && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed-all ## Serve the documentation while it is written
	@$(BIN)/mkdocs serve

pytest: $(VENV)/.installed-all
	@$(BIN)/python -m pytest

train-demo: $(VENV)/.installed-train ## Train two small networks inside rewardkit/Math-v0 (minutes, and a large download)
	@$(BIN)/python examples/train_ppo_env.py
	@TRL_EXPERIMENTAL_SILENCE=1 $(BIN)/python examples/train_grpo_trl.py

bench: $(VENV)/.installed-bench ## Run the benchmarks; each prints its figures, its peers and its limits
	@failed=; for bench in benchmarks/bench_*.py benchmarks/soak_*.py benchmarks/fresh_*.py; do \
	  echo "== $$bench"; $(BIN)/python $$bench || failed="$$failed $$bench"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed" >&2; exit 1; fi

constraints: $(VENV)/.installed-all $(VENV)/.installed-bench ## Write constraints.txt from what is installed
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude agentic-rewardkit --exclude setuptools | sed 's/+cpu$$//'; } \
	  > constraints.new && mv constraints.new constraints.txt

clean: ## Remove everything that make created
	rm -rf $(VENV) build dist site .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-scores*
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/pip:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "creating $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) && exit 0; \
	    echo "$$python cannot create a virtual environment: install its venv module (Debian: python3-venv)" >&2; exit 1; \
	  fi; \
	done; echo "rewardkit needs Python 3.11 or newer: install it, or name one with 'make PYTHON=/path/to/python'" >&2; exit 1

$(VENV)/.installed: $(INPUTS) | $(BIN)/pip
	@echo "installing rewardkit into $(VENV)"
	@$(PIP_INSTALL) --upgrade pip
	@$(PIP_INSTALL) --build-constraint constraints.txt --editable '.[light]'
	@touch $@

$(VENV)/.installed-all: $(VENV)/.installed
	@echo "installing what the checks need into $(VENV)"
	@$(PIP_INSTALL) --editable '.[all]' --group test --group lint --group docs
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "installing what the benchmarks compare with into $(VENV)"
	@$(PIP_INSTALL) --editable '.[all]' --group test --group bench
	@touch $@

$(VENV)/.installed-train: $(VENV)/.installed
	@echo "installing what the examples that train need into $(VENV)"
	@$(PIP_INSTALL) --group train
	@touch $@
