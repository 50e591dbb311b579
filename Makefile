# The only commands to remember. Everything lives in .venv and in $GAUNTLET_HOME (.gauntlet); nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
export PYTHONUTF8 := 1
# Set to nothing, whatever it was: without compiled bytecode collecting the tests takes 11 s instead of 5.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: nightly data-docs ui test test-slow bench bench-peers check setup lock clean

nightly: .venv/.run  ## everything that is due, in order, on what is configured; the report at the end
	@$(BIN)/gauntlet nightly

data-docs: .venv/.run  ## what the data sets keep of what was promised, as pages to browse; prints where they are
	@$(BIN)/gauntlet data-docs

ui: .venv/.run  ## Dagster's web UI and daemon on 127.0.0.1: schedules and sensors do the nights
	@$(BIN)/gauntlet ui

test: .venv/.dev  ## the test suite, within a minute
	@$(BIN)/python -m tests.warm
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: .venv/.dev  ## real processes, servers, a browser and vendors' files; every law on many examples
	@$(BIN)/python -m tests.warm
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "slow or hypothesis" --hypothesis-profile thorough

bench: .venv/.dev  ## measured speed, into benchmarks/results.json; ONLY=name,name for some
	@$(BIN)/python -m benchmarks.run $(ONLY)

bench-peers: .venv/.dev  ## other backtesters on identical work, each in an environment of its own
	@$(BIN)/python -m benchmarks.peers

check: .venv/.dev  ## style, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

setup: .venv/.dev  ## the environment, with everything development needs

lock: .venv/.uv  ## pin the dependencies of pyproject.toml anew
	@$(UV) pip compile -q --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
	  pyproject.toml -o requirements.txt
	@$(UV) pip compile -q --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
	  pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean:  ## a fresh start: environment and state
	@rm -rf .venv .gauntlet

# Stamps: each is remade only when what it is made from changed. The development stamp covers the other, because what
# it installs is a superset; the project itself is installed as a link to this folder.
.venv/.uv:
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/.run: requirements.txt pyproject.toml | .venv/.uv
	@echo "installing what is pinned in requirements.txt"
	@$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.venv/.dev: requirements-dev.txt pyproject.toml | .venv/.uv
	@echo "installing what is pinned in requirements-dev.txt"
	@$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@ .venv/.run
