# Everything a newcomer needs is `make run`; everything a change must pass is `make check test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LINTERS := $(VENV)/contracts
CODE := services shared deploy bench tests

.DEFAULT_GOAL := help
.PHONY: help run demo up down chaos prove rehearse test mutants format check lint secrets duplication manifests contracts audit bench bench-guard lock clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: $(READY) ## Start everything here, play the demo, stay up until Ctrl-C
	@$(BIN)/python -m deploy.local run

demo: $(READY) ## Start everything, play the demo, stop; fails unless all came true
	@$(BIN)/python -m deploy.local demo

up: $(READY) ## Start everything in the background
	@$(BIN)/python -m deploy.local up

down: $(READY) ## Stop everything that `up` or `run` started, and nothing else
	@$(BIN)/python -m deploy.local down

chaos: $(READY) ## Kill and freeze everything while Meta sends; SECONDS=600 SEED=1
	@$(BIN)/python -m deploy.local chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

prove: $(READY) ## What is too long for every change: outage, upgrade, storms, bugs, fleet
	$(BIN)/pytest tests/unit --hypothesis-seed=$$(shuf -i 1-999999 -n 1)
	FLEET=5000 READS=5000 $(BIN)/pytest tests/journeys/test_fleet_health.py tests/journeys/test_meta_away.py
	@$(BIN)/python -m deploy.local outage
	@$(BIN)/python -m deploy.local upgrade
	@for seed in 1 2 3 4 5; do $(BIN)/python -m deploy.local chaos --seconds 300 --seed $$seed || exit 1; done
	@$(BIN)/python -m deploy.local planted

rehearse: $(READY) ## Back up, lose and restore a database; migrate down and up
	@$(BIN)/python -m deploy.local rehearse

test: $(READY) ## Run all tests, as CI does, or some: make test T=tests/unit
ifdef T
	$(BIN)/pytest $(T)
else
	@$(BIN)/coverage erase
	$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered
endif

mutants: $(READY) ## Break the code: does a test fail? PART=shared/domain SAMPLE=50
	@nice $(BIN)/python -m tests.mutants $(or $(PART),$(error PART= one of PARTS in tests/mutants.py, or a file of one)) $(SAMPLE) $(SEED)

format: $(READY) ## Bring the code into its format, and mend what ruff can mend
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

check: lint secrets duplication manifests contracts audit ## Everything that reads the code: style, types, secrets, audit

lint: $(READY) ## Style, complexity and types
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

secrets: $(READY) ## Secrets in files that git knows
	git ls-files -z -- ':!requirements' | xargs -0 $(BIN)/detect-secrets-hook

duplication: $(READY) ## The same ten lines twice
	$(BIN)/pylint --disable=all --enable=duplicate-code --min-similarity-lines=10 \
	    --ignore-imports=yes --ignore-signatures=yes services shared deploy bench

manifests: $(READY) ## Kubernetes' manifests: fields, cron lines, zones, and the table of jobs
	@$(BIN)/python -m deploy.k8s

contracts: $(LINTERS)/.ready ## The API's and the events' documents: Redocly and Spectral
	@REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(LINTERS)/node_modules/.bin/redocly \
	    lint --extends recommended-strict docs/openapi.json docs/events.asyncapi.yaml
	@$(LINTERS)/node_modules/.bin/spectral lint --fail-severity hint \
	    --ruleset $(LINTERS)/spectral.yaml docs/openapi.json docs/events.asyncapi.yaml

audit: $(READY) ## Known vulnerabilities; an audit that could not ask is not a pass
	@$(BIN)/pip-audit --strict --disable-pip --requirement requirements/dev.txt \
	    || { echo "audit: NOT A PASS (something found, or PyPI's advisories could not be asked)"; exit 1; }

bench: $(READY) ## Measure beside FastAPI + FastStream, in some minutes
	@$(BIN)/python -m bench

bench-guard: $(READY) ## Has a webhook become dearer than in BASE? Counts and CPU
	@$(BIN)/python -m bench.guard $(BASE)

lock: ## Resolve the locks anew (needs uv, npm): hashes, no download addresses
	uv pip compile pyproject.toml --quiet --generate-hashes --no-emit-index-url --no-annotate \
	    --no-header -o requirements/run.txt
	uv pip compile pyproject.toml --quiet --generate-hashes --no-emit-index-url --no-annotate \
	    --no-header --extra dev -c requirements/run.txt -o requirements/dev.txt
	npm update --prefix requirements/contracts --package-lock-only --omit-lockfile-registry-resolved \
	    --ignore-scripts --no-audit --no-fund

clean: down ## Remove what these commands made
	rm -rf $(VENV) .local .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "making .venv from the lock (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(LINTERS)/.ready: requirements/contracts/package-lock.json requirements/contracts/spectral.yaml | $(READY)
	@command -v npm > /dev/null || { echo "contracts: NOT CHECKED: npm is missing; install Node.js 20.19 or newer with npm (Debian: apt install nodejs npm)"; exit 1; }
	@mkdir -p $(LINTERS)
	@cp requirements/contracts/* $(LINTERS)
	@cd $(LINTERS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@
