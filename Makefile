# Two commands do all the set-up: `make local` (the stack, with a model that answers) and `make test` (every test).
.PHONY: help local fresh setup setup-all browser bubblewrap nginx postgresql running rehearsal-programs test test-fast test-engine test-lab test-rehearsal test-autoscaler test-long lint docs types bench lock down
.DEFAULT_GOAL := local

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1 \t\2/' | expand -t 26

local: setup ## the stack on this machine, ending with an answer from a model that was asleep
	@.venv/bin/ebbtide local up

# with one cloud's SDK, or several: make setup CLOUD="aws gcp"
setup: ## the environment; CLOUD="aws gcp" adds those clouds' SDKs
	@scripts/setup.sh $(CLOUD)

# `make test` says at its end how long each step took
timed = .ci/timed "$(1)"

# what the tests need: every cloud's SDK, and the schemas that they are held against
setup-all: ## the environment with every cloud's SDK
	@$(call timed,setup) scripts/setup.sh aws azure gcp schemas

# one after the other, in this order: what is quick to fail comes first
.NOTPARALLEL:
# Python compiles 80,000 lines once, and not in each of the many processes that tests start
unexport PYTHONDONTWRITEBYTECODE
# the tests of the running stack look into the machine that the lab is
test-engine test-lab test-long running: export EBBTIDE_CLUSTER = lab
# coverage is counted over the fast tier alone, and judged there (pyproject.toml: fail_under): counting doubles a test's time
test: COVERAGE = --cov=infra --cov=components --cov=lab
test: export EBBTIDE_TIERS = $(CURDIR)/.tiers
test: fresh lint types test-fast test-engine test-long ## every test
	@.venv/bin/python -m tests.times

fresh:
	@rm -rf $(CURDIR)/.tiers

# the gate shuts a stranger's program in with it: Debian's, where this may be installed
bubblewrap:
	@command -v bwrap >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "  • bubblewrap, for the tests of the gate" && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap >/dev/null; } || \
		echo "  no bubblewrap: the tests of the sandbox are skipped"

# the pages that `plan` and `bench` write are opened in a real browser: Debian's, where this may be installed
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "  • Chromium, for the tests of pages" && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "  no Chromium: the tests of pages are skipped"

# a held stream is tried behind a real proxy: Debian's, where this may be installed
nginx:
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "  • nginx, for the test of held streams" && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; } || \
		echo "  no nginx: the test of held streams behind a proxy is skipped"

# keys and usage are kept in a real database: Debian's, where this may be installed
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "  • PostgreSQL, for the tests of keys and usage" && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; } || \
		echo "  no PostgreSQL: the tests of keys and usage in a database are skipped"

# units and the program under Pulumi's mocks, in two minutes: builds nothing, starts no cluster, needs root for the tests of
# namespaces. Few examples of each property; EBBTIDE_EXAMPLES=ci tries as many as a change is judged by
test-fast: setup-all browser ## units and the program under mocks
	EBBTIDE_STEP="fast tier" .venv/bin/pytest -n 2 --dist worksteal tests/unit tests/program tests/karpenter \
		-m "not engine and not slow" $(COVERAGE)

# the stack on this machine, which also builds the programs that the tests below start
# with CLEAN=1 from nothing, whatever an earlier run has left
running: setup-all ## the stack on this machine, with nobody asked
	$(if $(CLEAN),.venv/bin/ebbtide local down --purge)
	$(call timed,stack up) .venv/bin/ebbtide local up --quiet

# what the rehearsals' clusters run: built once
rehearsal-programs: setup-all
	$(call timed,rehearsal programs) .venv/bin/python -m tests.rehearsal.programs

# three workers, two of which mostly wait for nodes to come and go (tests/conftest.py: what stays together)
ENGINE = EBBTIDE_STEP="engine tier" .venv/bin/pytest -n 3 --dist loadgroup -m "engine or slow"
POLICIES = EBBTIDE_STEP="policies" .venv/bin/pytest -n 2 --dist loadgroup -m "engine or slow" tests/policies
test-engine: bubblewrap nginx postgresql running rehearsal-programs ## what needs the real Pulumi engine or an API server
	$(ENGINE) tests/karpenter tests/unit tests/program $(if $(COVERAGE),,tests/policies)

LAB = EBBTIDE_STEP="lab" .venv/bin/pytest tests/lab
test-lab: running ## the running stack
	$(LAB)

# every cloud stack's whole life with the real engine; a cluster of its own, no kubelet
REHEARSALS = EBBTIDE_STEP="rehearsals" .venv/bin/pytest -n 2 --dist loadgroup tests/rehearsal -m engine
test-rehearsal: running rehearsal-programs ## every cloud stack's whole life, with clouds that are a folder
	$(REHEARSALS)

# no part of `make test`, because no package registry has the program (docs/decisions/0034)
test-autoscaler: $(AUTOSCALER) rehearsal-programs ## AWS node groups before the real Cluster Autoscaler: AUTOSCALER=PATH
	EBBTIDE_CLUSTER_AUTOSCALER="$(abspath $(AUTOSCALER))" .venv/bin/pytest tests/karpenter/test_cluster_autoscaler.py

# the lab waits for models half of its time; the rehearsals take what it leaves, and no more: beside them as equals an
# engine gives a fifth of its tokens, and clients' patience ends. After them comes what `make test` has kept for then
test-long: running rehearsal-programs
	.ci/beside '$(REHEARSALS)$(if $(COVERAGE), && $(POLICIES))' '$(LAB)'

lint: setup-all ## ruff
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --quiet --check .

docs: setup-all ## the pages that are made out of the program
	.venv/bin/python -m scripts.write_docs

types: setup-all ## mypy, strict
	$(call timed,types) .venv/bin/mypy
	MYPYPATH=images/gateway .venv/bin/mypy -p ebbtide_kube -p ebbtide_accounts -p ebbtide_batch -p ebbtide_gateway -p ebbtide_keeper
	MYPYPATH=images/mirror .venv/bin/mypy -p ebbtide_mirror

bench: setup ## wakes of the local stack, measured
	.venv/bin/ebbtide local up --quiet
	.venv/bin/python -m benchmarks.wake

down: ## end what `make local` started
	@.venv/bin/ebbtide local down

# written without index addresses, so that any mirror serves it
lock: ## the lock files anew
	uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
		--extra dev pyproject.toml --output-file locks/dev.txt
	for extra in aws azure gcp schemas; do \
		python3 -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
			print(*extras['$$extra'], sep='\n')" | \
		uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
			--no-deps --no-annotate - --output-file locks/$$extra.txt; \
	done
	printf 'flask\nflask-cors\nmoto\n' | \
		uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
			--no-annotate - --output-file tests/karpenter/moto.txt
	for list in clients clients-openai-2; do \
		uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
			--no-annotate tests/clients/$$list.in --output-file tests/clients/$$list.txt; \
	done
	cd tests/clients && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund
