# Two commands do all the set-up: `make local` (the stack, with a model that answers) and `make test` (every test).
.PHONY: local setup running test test-fast test-engine test-lab lint types bench lock down
.DEFAULT_GOAL := local

local: setup
	@.venv/bin/ebbtide local up

setup:
	@infra/local/setup.sh

# one after the other, in this order: what is quick to fail comes first
.NOTPARALLEL:
# the tests of the running stack look into the machine that the lab is
test-engine test-lab running: export EBBTIDE_CLUSTER = lab
test: lint types test-fast test-engine test-lab

# units and the program under Pulumi's mocks, in less than a minute: builds nothing, starts no cluster, needs root for
# the tests of namespaces
test-fast: setup
	.venv/bin/pytest tests/unit tests/program -m "not engine and not slow" \
		--cov=infra --cov=components --cov-report=term

# the stack on this machine, which also builds the programs that the tests below start
running: setup
	.venv/bin/ebbtide local up --quiet

test-engine: running
	.venv/bin/pytest tests/unit tests/program -m "engine or slow"

test-lab: running
	.venv/bin/pytest tests/lab

lint: setup
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --quiet --check .

types: setup
	.venv/bin/mypy

bench: setup
	.venv/bin/ebbtide local up --quiet
	.venv/bin/python -m tests.bench.wake

down:
	@.venv/bin/ebbtide local down

# written without index addresses, so that any mirror serves it
lock:
	uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
		--extra dev pyproject.toml --output-file locks/dev.txt
