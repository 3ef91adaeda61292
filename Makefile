# Every target is one thing to do; `make help` lists them.
# What CI runs is `make test`, with warnings as errors: they are errors where CI is set.

ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_SESSIONS ?= 2000
SOAK_SECONDS ?= 1800
SOAK_SEEDS ?= 5000
SOAK_ROUNDS ?= 10000000
SOAK_OUTAGE_MS ?= 60000
CARGO = cargo
# Where rustup puts cargo and Debian puts servers, for shells that have not been told.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
# A command of its own: with the workspace its feature would take the network from every other test's gateway.
SIMULATION = -p perigee-integration-tests --features simulation --test simulation
DENY_WARNINGS = $(if $(CI),-D warnings)
# The command line's help is made from doc comments, where <...> around a URL would be shown.
HELP_TEXTS = -A rustdoc::bare_urls
# Not the simulation, which is built with another network.
REAL_SERVER_TESTS = --test gateway --test memory --test soak
JS_MODULES = js-client/node_modules/.package-lock.json
BENCH = $(CARGO) run --release --locked --quiet -p perigee-bench --
BROWSER_MODULES = integration-tests/browser/node_modules/.package-lock.json
CLIENT_MODULES = integration-tests/clients/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run build test check e2e gate gate-production simulation transports soak fuzz bench bench-quick deny need-run need-test need-bench binary unit pages clients browser clean

help: ## list the targets
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: need-run ## build and start the demo on http://localhost:8000; ARGS="--listen ADDR:PORT" elsewhere
	@$(CARGO) run --locked -p perigee-gateway -- demo $(ARGS)

build: need-run ## build the gateway for production: target/release/perigee
	$(CARGO) build --release --locked -p perigee-gateway

test: need-test check unit pages gate e2e simulation clients browser ## install what is missing and run every check and test

check: need-test $(JS_MODULES) ## format, lints, documentation, dependency direction, licences, types and size of the client
	$(CARGO) fmt --all --check
	scripts/direction
	node scripts/licences.mjs
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/libfuzzer/Cargo.toml >/dev/null # a workspace of its own
	$(CARGO) clippy --workspace --all-targets --locked -- $(DENY_WARNINGS)
	$(CARGO) clippy $(SIMULATION) --locked -- $(DENY_WARNINGS)
	RUSTDOCFLAGS="$(DENY_WARNINGS) $(HELP_TEXTS)" $(CARGO) doc --workspace --no-deps --locked --quiet
	npm run --silent --prefix js-client check

unit: need-test $(JS_MODULES) ## the cores, the gateway and the client, each by itself, and all of them with hostile input
	$(CARGO) test --workspace --lib --bins --locked
	$(CARGO) test --workspace --doc --locked --quiet
	npm test --silent --prefix js-client

pages: need-test ## the demo's pages, without a browser
	node --test integration-tests/pages/*.test.mjs

e2e: need-test $(JS_MODULES) binary ## the gateway with real servers
	$(CARGO) test --workspace $(REAL_SERVER_TESTS) --locked

clients: need-test $(CLIENT_MODULES) binary ## clients that we did not write, with real servers
	npm test --silent --prefix integration-tests/clients

browser: need-test $(JS_MODULES) $(BROWSER_MODULES) binary ## the gateway with real browsers, and the README as it is written
	npm test --silent --prefix integration-tests/browser
	node --test integration-tests/readme.test.mjs

gate: need-test binary ## the instructions that the gateway takes for a message, which have a bound
	target/debug/perigee-bench gate --development

gate-production: need-test build ## the same for the gateway as it is built for production, about five minutes
	$(BENCH) gate

simulation: need-run ## the gateway in simulated worlds; PERIGEE_SEEDS=5000 for more, PERIGEE_SEED=17 for one
	$(CARGO) test --locked $(SIMULATION) -- --nocapture

# The whole workspace at once, so that its tests share what is built.
binary: ; $(CARGO) build --workspace --bins --locked

transports: need-test ## run every transport through every fault and a transfer of 10 MiB, and write both tables of docs/transports.md
	PERIGEE_WRITE_DOCS=1 $(CARGO) test --locked -p perigee-integration-tests --test gateway matrix
	$(CARGO) run --locked -p perigee-integration-tests --example overhead

soak: need-test $(JS_MODULES) $(BROWSER_MODULES) binary ## what takes hours: sessions under random cuts, simulated worlds, hostile input, long outages; CONTRIBUTING.md has its variables
	SOAK_SESSIONS=$(SOAK_SESSIONS) SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked -p perigee-integration-tests --test soak -- --nocapture
	PERIGEE_SEEDS=$(SOAK_SEEDS) $(CARGO) test --locked -p perigee-session --lib hostile
	PERIGEE_SEEDS=$(SOAK_SEEDS) $(MAKE) simulation
	PERIGEE_ROUNDS=$(SOAK_ROUNDS) $(CARGO) test --locked -p perigee-fuzz
	cd integration-tests/browser && PERIGEE_OUTAGE_MS=$(SOAK_OUTAGE_MS) node --test --test-force-exit page-life.test.js

fuzz: need-run ## hostile input, guided by coverage, FUZZ_SECONDS for each target; FUZZ_TARGETS="http config" for some
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

bench: need-bench build ## what a message costs, beside the rivals, about 25 minutes; ARGS=--write keeps the tables in docs/performance.md
	$(BENCH) run $(ARGS)

bench-quick: need-bench build ## the same with fewer rivals and shorter runs, below 3 minutes
	$(BENCH) run --quick $(ARGS)

deny: ## advisories, licences, bans and sources with cargo-deny
	$(CARGO) deny --locked check

need-run: ; @scripts/need run
need-test: ; @scripts/need test
need-bench: ; @scripts/need bench

clean: ## remove what was built and installed in this folder
	$(CARGO) clean
	rm -rf js-client/node_modules js-client/types crates/bench/rivals/node_modules integration-tests/browser/node_modules integration-tests/clients/node_modules integration-tests/artifacts fuzz/libfuzzer/target fuzz/libfuzzer/corpus

%/node_modules/.package-lock.json: %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund --loglevel=error
	@touch $@
