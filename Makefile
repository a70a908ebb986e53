# The same few commands at the desk and in CI. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Any Python >= 3.11; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Extra arguments: make test ARGS="-k pool", make run ARGS=--no-town
ARGS ?=

.PHONY: help setup run demo test check format bench eval chaos lock kafka clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it (quick when up to date)

# The lock holds a hash of every file, so nothing else than what was tested is installed; the project itself comes last, editable.
$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Upwell needs Python >= 3.11; name one with make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m models.kernel
	@touch $@

run: setup ## everything on this machine: broker, store, workers, API, and a demo town (upwell up)
	@$(BIN)/upwell up $(ARGS)

demo: setup ## 200,000 real events through broker and workers, then a real person's feed
	@$(BIN)/python -m tools.demo $(ARGS)

test: setup ## every test (about 9 minutes on two cores; parts that are missing are named and skipped)
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder $(ARGS)

check: setup ## format, lint, types, import borders
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache > /tmp/upwell-borders.$$$$ 2>&1 || { cat /tmp/upwell-borders.$$$$; rm -f /tmp/upwell-borders.$$$$; exit 1; }; rm -f /tmp/upwell-borders.$$$$

format: setup ## rewrite the code as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## the table of benchmarks/README.md, measured here
	@$(BIN)/python -m benchmarks $(ARGS)

eval: setup ## quality on real data, and what each component is worth (ARGS="--lines 20000 --warmup 5000" looks quickly)
	@$(BIN)/python -m tools.quality $(ARGS)

chaos: setup ## workers, store and broker killed under load; then every count is compared
	@$(BIN)/python -m pytest -m chaos --numprocesses 0 $(ARGS)

lock: setup ## write the lock files anew from pyproject.toml (add ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header $(ARGS) \
		pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header $(ARGS) \
		pyproject.toml --group dev --extra plot -c requirements.lock -o requirements-dev.lock

kafka: ## fetch Apache Kafka's jars for the tests that need them (Java 17 and Maven)
	@mvn -q -B -f deploy/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/kafka/lib

clean: ## remove .venv and every cache
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
