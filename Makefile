# Two commands do all the set-up: `make local` (the stack, with a model that answers) and `make test` (every test).
.PHONY: local setup setup-all browser running rehearsal-programs test test-fast test-engine test-lab test-rehearsal test-long lint types bench lock down
.DEFAULT_GOAL := local

local: setup
	@.venv/bin/ebbtide local up

# with one cloud's SDK, or several: make setup CLOUD="aws gcp"
setup:
	@infra/local/setup.sh $(CLOUD)

# what the tests need: every cloud's SDK
setup-all:
	@infra/local/setup.sh aws azure gcp

# one after the other, in this order: what is quick to fail comes first
.NOTPARALLEL:
# the tests of the running stack look into the machine that the lab is
test-engine test-lab test-long running: export EBBTIDE_CLUSTER = lab
# coverage is counted over the fast and the engine's tier, and judged after the second (pyproject.toml: fail_under)
test: COVERAGE = --cov=infra --cov=components
test: lint types test-fast test-engine test-long

# the pages that `plan` and `bench` write are opened in a real browser: Debian's, where this may be installed
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "  • Chromium, for the tests of pages" && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "  no Chromium: the tests of pages are skipped"

# units and the program under Pulumi's mocks, in little more than a minute: builds nothing, starts no cluster, needs root
# for the tests of namespaces
test-fast: setup-all browser
	.venv/bin/pytest -n 2 --dist loadfile tests/unit tests/program tests/karpenter -m "not engine and not slow" \
		$(if $(COVERAGE),$(COVERAGE) --cov-report= --cov-fail-under=0)

# the stack on this machine, which also builds the programs that the tests below start
running: setup-all
	.venv/bin/ebbtide local up --quiet

# what the rehearsals' clusters run: built once
rehearsal-programs: setup-all
	.venv/bin/python -m tests.rehearsal.programs

test-engine: running rehearsal-programs
	.venv/bin/pytest tests/unit tests/program tests/policies -m "engine or slow" \
		$(if $(COVERAGE),$(COVERAGE) --cov-append --cov-report=term)

test-lab: running
	.venv/bin/pytest tests/lab

# every cloud stack's whole life with the real engine, and real nodes from zero; a cluster of its own, no kubelet
test-rehearsal: running rehearsal-programs
	.venv/bin/pytest tests/rehearsal tests/karpenter -m engine

# both: the running stack mostly waits, and the rehearsals compute meanwhile, at the lowest priority (a session
# of their own: Linux shares the processor among sessions first); of those that end well one line is told, so that the
# last thing printed is what failed
REHEARSAL_LOG = .tiers-rehearsal.log
test-long: running rehearsal-programs
	@setsid setpriv --pdeathsig INT bash -c 'echo 19 > /proc/$$$$/autogroup; exec nice -n 19 env --default-signal=INT \
		.venv/bin/pytest tests/rehearsal tests/karpenter -m engine' > $(REHEARSAL_LOG) 2>&1 & rehearsal=$$!; \
	trap 'kill -INT $$rehearsal 2>/dev/null' INT TERM; \
	.venv/bin/pytest tests/lab; lab=$$?; \
	wait $$rehearsal; status=$$?; echo "the rehearsals, which ran meanwhile:"; \
	if [ $$status = 0 ]; then tail -n 1 $(REHEARSAL_LOG); else cat $(REHEARSAL_LOG); fi; \
	exit $$((lab + status))

lint: setup-all
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --quiet --check .

types: setup-all
	.venv/bin/mypy
	MYPYPATH=images/gateway .venv/bin/mypy -p ebbtide_gateway -p ebbtide_keeper
	MYPYPATH=images/mirror .venv/bin/mypy -p ebbtide_mirror

bench: setup
	.venv/bin/ebbtide local up --quiet
	.venv/bin/python -m tests.bench.wake

down:
	@.venv/bin/ebbtide local down

# written without index addresses, so that any mirror serves it
lock:
	uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
		--extra dev pyproject.toml --output-file locks/dev.txt
	for cloud in aws azure gcp; do \
		python3 -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
			print(*extras['$$cloud'], sep='\n')" | \
		uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
			--no-deps --no-annotate - --output-file locks/$$cloud.txt; \
	done
