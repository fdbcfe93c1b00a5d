# The short way in. What a target does in more than a line or two lives in tools/ or CMakePresets.json.
.DEFAULT_GOAL := build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
SECONDS_EACH ?= 60
DEMO_VIDEO ?= models/demo/sample.mp4
DEMO_QUESTION ?= Which direction does the yellow square move?

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 18

.PHONY: deps
deps:  ## install the missing Debian packages of a build
	@tools/install_deps.sh build

.PHONY: build
build:  ## library and programs, release preset, in build/release (make JOBS=1 on a small machine)
	@tools/build.sh release $(JOBS)

.PHONY: demo
demo: deps  ## install what is missing, build, ask the embedded model about its sample clip
	@tools/build.sh release $(JOBS)
	build/release/apps/reelm ask $(DEMO_VIDEO) "$(DEMO_QUESTION)"

.PHONY: test
test:  ## install what is missing, then every test: release, ASan+UBSan, lint, install-and-consume
	@tools/run_tests.sh $(JOBS)

.PHONY: asan
asan:  ## the tests under AddressSanitizer and UBSan only
	@tools/run_tests.sh $(JOBS) asan

.PHONY: fuzz
fuzz:  ## every fuzz target for a minute, with clang (SECONDS_EACH=..; tools/fuzz.sh --nightly: an hour)
	@tools/fuzz.sh --jobs $(JOBS) --seconds $(SECONDS_EACH)

.PHONY: format
format:  ## lay out all C++ sources with clang-format 14
	@tools/check_format.sh --fix

.PHONY: tidy
tidy: build  ## clang-tidy (Debian package clang-tidy) over all sources; slow
	@run-clang-tidy -quiet -p build/release '^(?!.*/build/).*\.cc$$'

.PHONY: install
install: build  ## install into PREFIX (/usr/local); DESTDIR is obeyed
	cmake --install build/release --prefix "$(PREFIX)"

.PHONY: clean
clean:  ## remove build/
	rm -rf build
