# `make` alone lists the targets.

GO       ?= go
FUZZTIME ?= 2m
ROUNDS   ?= 50
CHROMIUM ?= $(shell command -v chromium)

# Tests of the production engines and those in a browser carry these tags, and
# run with the servers that they need.
TAGS    := integration,browser
SERVERS := $(GO) run ./internal/testservers/start

LINT_VERSION := v2.15.0
LINT         := .tools/golangci-lint-$(LINT_VERSION)

.DEFAULT_GOAL := help
.PHONY: help run test services types check format vet lint house bench bench-postgres scale streams flood crash drill fuzz pictures film

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the server on the embedded engines
	$(GO) run ./cmd/server

test: ## run all tests, with the race detector and real servers
	$(SERVERS) -browser -- $(GO) test -race -tags $(TAGS) -timeout 30m ./...

services: ## keep the servers that tests need running, and print where
	$(SERVERS)

types: ## check the types of what runs in the browser
	$(GO) test -tags browser -run '^TestTypes$$' -count=1 ./e2e

check: format vet lint house test ## everything that must hold for a change to land

format:
	@changed=$$(gofmt -l .); if [ -n "$$changed" ]; then echo "gofmt would change:"; echo "$$changed"; exit 1; fi

vet:
	$(GO) vet -tags $(TAGS) ./...

lint: $(LINT)
	$(LINT) run

# The rules of the house alone, so that they are told before the long tests.
house:
	$(GO) test -run '^TestHouse' .

$(LINT):
	GOBIN="$(CURDIR)/.tools" $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv .tools/golangci-lint $@

bench: ## measure against ceilings taken in the same run
	$(GO) run ./loadtest/bench
	$(GO) test -run '^$$' -bench . -benchmem ./internal/feed

bench-postgres: ## the same on PostgreSQL, Redis and RabbitMQ, then with limits in each process
	$(SERVERS) -fsync -- $(GO) run ./loadtest/bench -engine postgres
	$(SERVERS) -fsync -- $(GO) run ./loadtest/bench -engine postgres -redis "" -only bc
	$(SERVERS) -- $(GO) test -tags integration -run '^$$' -bench Publish ./internal/engine/rabbitmq

scale: ## the plans of the hot paths and the sizes of tables at 1,000,000 polls and 10,000,000 votes
	$(SERVERS) -fsync -- $(GO) test -tags integration -run '^TestPlans$$/36' -count=1 -timeout 60m -v ./internal/engine/postgres -plans.polls=1000000 -plans.votes=10

flood: ## attack a server of its own with floods, and print what others noticed
	$(GO) run ./loadtest/flood

streams: ## open 10,000 live streams of one poll, vote on it, and print what reaches them
	$(GO) run ./loadtest/streams

crash: ## kill the server under load ROUNDS times (50) and compare
	$(GO) test -run '^TestCrash$$' -count=1 -timeout 60m -v ./internal/app -crash.rounds=$(ROUNDS)

drill: ## disturb three instances and the servers under them for 30 s each, and compare
	$(SERVERS) -- $(GO) test -tags $(TAGS) -run '^TestDrill$$' -count=1 -timeout 60m -v ./internal/app -app.drill=30s

# The pictures of the documentation. What is in the fonts of the machine is in them.
pictures: ## make the pictures of docs/pictures anew
	$(GO) test -tags browser -run '^TestBrowser$$/together/pictures$$' -count=1 ./e2e
	mkdir -p docs/pictures
	for file in e2e/artefacts/picture-*.png; do cp "$$file" "docs/pictures/$${file#e2e/artefacts/picture-}"; done

film: ## film a browser that watches the replay of CONVERSATION, into docs/pictures/replay.gif
	$(GO) build -o e2e/artefacts/ ./cmd/server ./cmd/votectl
	VOTE_SERVER=$(CURDIR)/e2e/artefacts/server VOTE_VOTECTL=$(CURDIR)/e2e/artefacts/votectl VOTE_CHROMIUM=$(CHROMIUM) VOTE_E2E_OUT=e2e/artefacts VOTE_E2E_PATIENCE=300000 \
	  node e2e/film.mjs "$(CONVERSATION)" docs/pictures/replay.gif

fuzz: ## run every fuzz target for FUZZTIME (2m)
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$package; \
	  done; \
	done
