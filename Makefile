# Two commands do all the set-up: `make local` (the stack, with a model that answers) and `make test` (every test).
.PHONY: local setup test test-fast test-lab lint types bench lock down
.DEFAULT_GOAL := local

local: setup
	@.venv/bin/ebbtide local up

setup:
	@infra/local/setup.sh

test: lint types test-fast test-lab

test-fast: setup
	.venv/bin/pytest tests/unit tests/program --cov=infra --cov=components --cov-report=term:skip-covered

test-lab: setup
	.venv/bin/ebbtide local up --quiet
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
