# `make` alone lists what there is to do.

GO ?= go

# The versions of the tools, which are built into .tools with the Go that builds
# crmctl. (goreleaser is only used where it is installed: it takes long to build.)
GOLANGCI_LINT_VERSION := v2.15.0

TOOLS         := $(CURDIR)/.tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint

# What `crmctl version` says, read from git: the tag, and the commit and its date.
# A tree without git or tags gives "dev".
VERSION = $(shell git describe --tags --match 'v*' --dirty 2>/dev/null | sed 's/^v//')
COMMIT  = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)
DATE    = $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS = -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

# -buildvcs=false: git refuses to answer the Go command where the tree belongs to
# somebody else, and the build would fail; LDFLAGS say the same. (No -trimpath, which a
# release has: what the tests have compiled can be used again.)
GOBUILD := CGO_ENABLED=0 $(GO) build -buildvcs=false

# The platforms of a release, as in .goreleaser.yaml.
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

##: To begin

.PHONY: demo
# Real contacts where they lie beside the checkout: the registry of .gov domains. The
# sample that crmctl carries otherwise.
DEMO_FILE := $(wildcard ../shared/data/dotgov-current-full.csv)
DEMO_FLAGS := $(if $(DEMO_FILE),--file '$(DEMO_FILE)' --null '(blank)' --map 'Domain name=name' \
	--map 'Organization name=company' --map 'Security contact email=email' --map 'City=metadata.city')
demo: setup-demo build ## set up, build, and show the main job on a private PostgreSQL (seconds, once Go has built it)
	bin/crmctl demo $(DEMO_FLAGS)

.PHONY: test
test: setup-test ## set up, then go vet and every test on the newest PostgreSQL (RACE=0: no race detector)
	scripts/test-newest.sh

.PHONY: build
build: ## build bin/crmctl
	$(GOBUILD) -ldflags '$(LDFLAGS)' -o bin/crmctl ./cmd/crmctl

##: To change something

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## format the Go files and order their imports
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) ## golangci-lint (built the first time: minutes), and whether go.mod is tidy
	CGO_ENABLED=0 $(GOLANGCI_LINT) run
	$(GO) mod tidy -diff

.PHONY: docs
docs: ## write docs/reference anew, a page for each command
	rm -rf docs/reference
	$(GO) run ./cmd/crmctl man docs/reference --format markdown

.PHONY: screens
screens: setup-demo ## take the pictures in docs/pictures anew, from real runs
	CRMCTL_TEST_UPDATE=1 $(GO) test -count 1 -run 'TestPictures$$' ./cmd/crmctl

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME (30s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: test-browser
BROWSER ?= $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))
test-browser: ## show the pages of `crmctl report` in a headless Chromium, pictures in dist/pages
	@scripts/browser.sh '$(BROWSER)'

.PHONY: test-matrix
test-matrix: setup-matrix ## every test on PostgreSQL 14 to 18 (fetched with npm), or on PG="14 18"
	scripts/test-matrix.sh $(PG)

.PHONY: test-citus
test-citus: ## every command, doctor and imports on a Citus cluster with workers (CRMCTL_TEST_CITUS_URL=postgres://... of its coordinator)
ifeq ($(CRMCTL_TEST_CITUS_URL),)
	@echo "skipped: CRMCTL_TEST_CITUS_URL does not say where the coordinator of a Citus cluster is"
else
	$(GO) test -count 1 -timeout 30m -run "OnACluster|OfACluster" ./cmd/crmctl ./internal/doctor ./internal/migrate ./internal/stats
	$(GO) test -count 1 -timeout 30m -parallel 4 ./internal/crm/importer \
		-run 'TestImportAgreesWithModel|TestImport$$|TestImportByKey|TestImportIntoAn|TestAcceptedRows|TestRejectedConflicts'
endif

##: To measure

.PHONY: bench
BENCH ?= .
BENCHFLAGS ?=
bench: setup-demo ## Go benchmarks (BENCH=regexp), then whole processes (BENCHFLAGS='-tenants 200')
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	$(GO) run ./bench $(BENCHFLAGS)

.PHONY: bench-import
ROWS ?= 1000000
bench-import: ## imports against COPY and merges by hand, ROWS of them; compare within one run
	CRM_BENCH_ROWS=$(ROWS) $(GO) test -run '^$$' -bench BenchmarkImport -benchtime 1x ./internal/crm/importer

.PHONY: bench-peers
bench-peers: setup-demo ## 200 tenants against goose, golang-migrate, tern and knex (needs npm) on one server
	$(GO) run ./bench -only peers -tenants 200 $(BENCHFLAGS)

.PHONY: bench-network
bench-network: setup-demo ## a fleet behind slower and slower networks, and its table in docs/performance.md
	$(GO) run ./bench -only network -write docs $(BENCHFLAGS)

.PHONY: bench-scale
SIZES ?= 1000,2000,5000,10000
bench-scale: setup-demo ## fleets of SIZES tenants, and writes docs/performance.md and its plot
	$(GO) run ./bench -only scale -sizes $(SIZES) -write docs $(BENCHFLAGS)

##: To release

.PHONY: release-check
release-check: ## build every platform; check .goreleaser.yaml where goreleaser is installed
	@set -e; for platform in $(PLATFORMS); do \
		echo "build $$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GOBUILD) -o /dev/null ./cmd/crmctl; \
	done
	@if command -v goreleaser >/dev/null; then goreleaser check; \
	else echo 'goreleaser is not installed: .goreleaser.yaml is checked by the CI workflow'; fi

##: To tidy

.PHONY: clean
clean: ## remove what was built (not .tools; make distclean does)
	rm -rf bin dist

.PHONY: distclean
distclean: clean ## remove the tools and servers in .tools too
	rm -rf .tools

.PHONY: help
help: ## this list
	@echo 'crmctl: make TARGET'
	@awk -F ':.*## ' \
		'/^##: / { printf "\n%s\n", substr($$0, 5) } \
		 /^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# What the targets above need.

.PHONY: setup-demo setup-test setup-matrix
setup-demo:
	@scripts/setup.sh postgresql
setup-test:
	@scripts/setup.sh postgresql pgbouncer
	@scripts/goose.sh >/dev/null || echo 'goose       cannot be built, see above: the tests against it are skipped'
setup-matrix:
	@scripts/setup.sh pgbouncer
	@scripts/goose.sh >/dev/null || echo 'goose       cannot be built, see above: the tests against it are skipped'

$(GOLANGCI_LINT):
	@echo 'building golangci-lint $(GOLANGCI_LINT_VERSION) into .tools: some minutes, once'
	@mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS= CGO_ENABLED=0 $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
