# Each task sets up what it needs: .venv with Python, then the extras of pyproject.toml. A second call starts at once.
# Settings: make lab PORT=9999 BROWSER=none · make test PYTHON=python3.12 · make train PRESET=mnist-5k ARGS="--seed 1"

PYTHON ?= python3
PORT ?= 8888
PRESET ?= mnist-5k
RUN ?= runs/$(PRESET)

BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
OLDEST_PYTHON := $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)
# Each worker takes one core; a whole file goes to one worker, as the cells of a notebook must.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope
# What takes about a second at most and opens no browser
UNIT := not slow and not thorough and not browser and not wheel

.DEFAULT_GOAL := help
.NOTPARALLEL: # two installers must not meet in one .venv
.DELETE_ON_ERROR:
.PHONY: help lab test check format train figures results study studies benchmark benchmark-training benchmark-sharded docs-tables notebooks site serve soak clean

help: ## list every task
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

lab: .venv/.installed-notebooks ## open JupyterLab on the walkthrough (PORT=8888, BROWSER=none for no window)
	$(BIN)/jupyter lab --port=$(PORT) --LabApp.default_url=/lab/tree/$(firstword $(sort $(wildcard notebooks/*.ipynb))) \
		$(if $(filter none,$(BROWSER)),--no-browser) $(if $(filter 0,$(shell id -u)),--allow-root)

test: .venv/.installed-test ## what a merge must pass: all tests, the widgets in a browser, every notebook against its stored outputs
	$(PYTEST) -m "$(UNIT)"
	$(PYTEST) -m "not slow and not ($(UNIT))"
	$(PYTEST) --nbval notebooks/

check: .venv/.installed-dev ## what a commit must pass, in about two minutes: format, lint, types, import contract, unit tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "$(UNIT)"

format: .venv/.installed-dev ## format the code and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

train: .venv/.installed-lab ## train a preset into runs/ (PRESET=mnist-5k, ARGS="--seed 1")
	$(BIN)/memgan train --preset $(PRESET) --out $(RUN) $(ARGS)

figures: .venv/.installed-notebooks ## draw the pictures of README.md and the notebooks into figures/ (NAMES=dataflow.svg)
	$(BIN)/python -m scripts.draw_figures $(NAMES)

results: .venv/.installed-test ## run the long comparisons: results/NAME.json (NAMES="plane forgetting")
	for name in $(or $(NAMES),plane forgetting old_fakes bounds training walks encoders counts); do $(BIN)/python -m scripts.measure_$$name || exit 1; done

study: .venv/.installed-lab ## compare configurations on several seeds: results/study-NAME-PRESET.json (NAME=ablation, PRESET=mnist-5k)
	$(BIN)/memgan study $(or $(NAME),ablation) --preset $(PRESET) $(ARGS)

studies: .venv/.installed-lab ## put the results of studies into docs/studies.md, and draw their figures
	$(BIN)/python -m scripts.studies_page

benchmark: .venv/.installed-benchmark ## time the memory beside other ways of doing the same: results/benchmark-memory-cpu.json (ARGS="--device cuda")
	$(BIN)/python -m scripts.benchmark_memory $(ARGS)

benchmark-training: .venv/.installed-lab ## time a training step and the memory's share: results/benchmark-training-cpu.json (ARGS="--device cuda")
	$(BIN)/python -m scripts.benchmark_training $(ARGS)

benchmark-sharded: .venv/.installed-lab ## time a memory in shards beside one memory, and count what the ranks send: results/benchmark-sharded.json
	$(BIN)/python -m scripts.benchmark_sharded $(ARGS)

docs-tables: .venv/.installed-notebooks ## fill the tables of README.md and docs/ from results/ and the presets
	$(BIN)/python -m scripts.docs_tables

notebooks: .venv/.installed-notebooks ## run the notebooks from their .py and store them (NOTEBOOKS=notebooks/06_x.py, ARGS=--prose)
	$(BIN)/python scripts/run_notebooks.py $(ARGS) $(NOTEBOOKS)

site: .venv/.installed-site ## build the walkthrough as pages from the stored notebooks: build/site/index.html
	rm -rf build/site build/doctrees
	$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/doctrees . build/site

serve: site ## build the pages and show them at http://127.0.0.1 (PORT=8888)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site $(PORT)

soak: .venv/.installed-test ## the tests that take minutes and that `make test` leaves out; a workflow runs them every week
	$(PYTEST) -m slow

clean: ## remove caches and build products; .venv/ and runs/ stay
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache notebooks/.ipynb_checkpoints
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# One stamp for each extra, written last, so that an interrupted install starts again.
.venv/.installed-%: pyproject.toml .venv/.created
	@echo "Installing memgan with its extra '$*' into .venv (the first time takes minutes: PyTorch is large) ..."
ifdef UV
	uv pip install --python $(BIN)/python --editable '.[$*]'
else
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[$*]'
endif
	@touch $@

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST_PYTHON)".split("."))))' 2>/dev/null || { \
		echo "memgan needs Python $(OLDEST_PYTHON) or later; $(PYTHON) is" \
			"$$($(PYTHON) --version 2>/dev/null || echo not there). Name another: make PYTHON=/path/to/python3 ..." >&2; \
		exit 1; }
ifdef UV
	uv venv --quiet --allow-existing --python $(PYTHON) .venv
else
	$(PYTHON) -m venv .venv
endif
	@touch $@
