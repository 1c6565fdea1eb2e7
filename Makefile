# SPDX-License-Identifier: MIT
#
# Makefile - the one build file. `make help` lists the words.
#
# Each variant (release, debug, asan ...) has its own directory under build/. Each folder of src/ compiles with an
# include root of its own, made of links to the folders that it may see (SEES_* below), so that an include that
# crosses the layers does not compile.

B := build
LAYERS := base engine resp keyspace command net app tools
VARIANTS := release debug asan ubsan tsan fuzz cover nolocks
T ?= 60

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
Q := $(if $(VERBOSE),,@)

# ---- Compilers and flags ----

ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
CLANG ?= clang
AR := ar

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wcast-qual -Wundef
WERROR_FLAG := $(if $(filter-out 0,$(CI) $(WERROR)),-Werror)
WARN_engine := -Wconversion
WARN_resp := -Wconversion
FLAGS := -std=c11 -D_GNU_SOURCE -g -fno-common -pthread $(WARN) $(WERROR_FLAG) $(CFLAGS_EXTRA)

CC_release := $(CC)
CC_debug := $(CC)
CC_nolocks := $(CC)
CC_cover := $(CC)
CC_asan := $(CLANG)
CC_ubsan := $(CLANG)
CC_tsan := $(CLANG)
CC_fuzz := $(CLANG)

CLANG_FLAGS := -Wthread-safety -fno-omit-frame-pointer -DBK_DEBUG
FLAGS_release := -O2
FLAGS_debug := -O1 -DBK_DEBUG
# A server that tests must find out: tests/crash/slow_histories.c.
FLAGS_nolocks := -O2 -DBK_TEST_NO_KEY_LOCKS
FLAGS_cover := -O0 -DBK_DEBUG --coverage
FLAGS_asan := -O1 $(CLANG_FLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_ubsan := -O1 $(CLANG_FLAGS) -fsanitize=undefined -fno-sanitize-recover=all
FLAGS_tsan := -O1 $(CLANG_FLAGS) -fsanitize=thread
FLAGS_fuzz := -O1 $(CLANG_FLAGS) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

# The sanitizers bring their own allocator: jemalloc is linked for its figures only and serves nobody there.
LD_fuzz_target := -fsanitize=fuzzer,address,undefined
LIBS_engine := -lisal -lpthread -lm
LIBS_server := -levent_core -levent_extra -levent_pthreads -ljemalloc -llzf $(LIBS_engine)
LIBS_tool := -ljansson $(LIBS_engine)
LIBS_test := -lcmocka -lhiredis
LDFLAGS_ALL := -pthread -Wl,--as-needed

# ---- Layers ----

# A folder, or single headers of one. net/ sees command/ alone: what command.h itself needs of keyspace/ lies beside
# command.h, where only that header finds it. sight.h is a part of bitkv.h.
STORE := engine/bitkv.h engine/sight.h
SEES_base := base
SEES_engine := base engine
SEES_resp := base resp
SEES_keyspace := base keyspace $(STORE)
SEES_command := base resp keyspace command
SEES_net := base resp net $(patsubst src/%,%,$(wildcard src/command/*.h))
SEES_app := $(LAYERS)
SEES_tools := base tools $(STORE)
SEES_tests_engine := base $(STORE) engine/io.h

ROOT := $(B)/include
ROOTS := $(LAYERS) tests_engine
see = [ -e $2 ] || { mkdir -p $(dir $2) && ln -sfn $(CURDIR)/src/$1 $2; }

$(ROOT)/.stamp: Makefile $(wildcard src/command/*.h)
	$(Q)set -e; $(foreach r,$(ROOTS),$(foreach s,$(SEES_$r),$(call see,$s,$(ROOT)/$r/$s);))
	$(Q)$(call see,keyspace/keyspace.h,$(ROOT)/net/command/keyspace/keyspace.h)
	$(Q)touch $@

# ---- Sources ----

$(foreach l,$(LAYERS),$(eval SRC_$l := $(wildcard src/$l/*.c)))
SERVER_LAYERS := resp keyspace command net app
TEST_unit := $(wildcard tests/unit/test_*.c)
TEST_engine := $(wildcard tests/engine/test_*.c)
TEST_server := $(wildcard tests/server/test_*.c)
TEST_clients := $(wildcard tests/clients/*.c)
TEST_crash := $(wildcard tests/crash/*.c)
TEST_fuzz := $(wildcard tests/fuzz/fuzz_*.c)
# sync_ways needs liburing: `make bench-sync` alone makes it.
TEST_bench := $(filter-out %/sync_ways.c,$(wildcard tests/bench/*.c))
TEST_lib := $(filter-out %_fake.c tests/lib/preload_%,$(wildcard tests/lib/*.c))
# Put in front of a server by LD_PRELOAD.
TEST_preload := $(wildcard tests/lib/preload_*.c)
# tests/lib/X_fake.c stands in for modules below X: it is linked into tests/unit/test_X_*.c only.
FAKES := $(patsubst tests/lib/%_fake.c,%,$(wildcard tests/lib/*_fake.c))
TEST_KINDS := unit engine server clients crash bench

# tests/engine and tests/bench see the engine as its users do, with the simulated disk's table on top.
INC_tests := -Itests -Itests/lib
$(foreach k,unit server clients crash fuzz lib,$(eval INC_$k := -Isrc $(INC_tests)))
$(foreach k,engine bench,$(eval INC_$k := -I$(ROOT)/tests_engine $(INC_tests)))

objs = $(patsubst %.c,$(B)/$1/%.o,$2)
bins = $(patsubst %.c,$(B)/$1/%,$2)
products = $(addprefix $(B)/$1/,libbitkv.a $(if $(SRC_app),bitkv-server) $(if $(SRC_tools),bitkv))

# ---- Rules of one variant ----

# $1 variant, $2 folder of src/
define layer_rules
$(B)/$1/src/$2/%.o: src/$2/%.c | $(ROOT)/.stamp
	@mkdir -p $$(@D)
	@echo "CC   $1 $$<"
	$(Q)$$(CC_$1) $$(FLAGS) $$(FLAGS_$1) $$(WARN_$2) -I$(ROOT)/$2 -MMD -MP -c -o $$@ $$<
endef

# $1 variant, $2 folder of tests/
define test_object_rules
$(B)/$1/tests/$2/%.o: tests/$2/%.c | $(ROOT)/.stamp
	@mkdir -p $$(@D)
	@echo "CC   $1 $$<"
	$(Q)$$(CC_$1) $$(FLAGS) $$(FLAGS_$1) -DTEST_SERVER='"$(abspath $(B))/$1/bitkv-server"' \
		-DTEST_TOOL='"$(abspath $(B))/$1/bitkv"' $(INC_$2) -MMD -MP -c -o $$@ $$<
endef

# $1 variant, $2 folder of tests/, $3 archives, $4 libraries
define test_program_rules
$(call bins,$1,$(TEST_$2)): $(B)/$1/tests/$2/%: $(B)/$1/tests/$2/%.o $(addprefix $(B)/$1/,$3)
	@echo "LINK $1 $$@"
	$(Q)$$(CC_$1) $$(FLAGS_$1) $$(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) $$(filter %.a,$$^) $4
endef

# $1 variant, $2 archive, $3 sources. Made anew, also when a source has come or gone: that is what the list is for.
define archive_rules
$(B)/$1/$2: $(call objs,$1,$3) $(B)/$1/$2.list
	@echo "AR   $1 $$@"
	$(Q)rm -f $$@ && $$(AR) rcs $$@ $$(filter %.o,$$^)
$(B)/$1/$2.list: FORCE
	@mkdir -p $$(@D)
	@echo '$3' | cmp -s - $$@ || echo '$3' >$$@
endef

define variant_rules
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$1,$l)))
$(foreach k,$(TEST_KINDS) fuzz lib,$(eval $(call test_object_rules,$1,$k)))
$(eval $(call archive_rules,$1,libbitkv.a,$(SRC_base) $(SRC_engine)))
$(eval $(call archive_rules,$1,libserver.a,$(foreach l,$(SERVER_LAYERS),$(SRC_$l))))
$(eval $(call archive_rules,$1,libtool.a,$(SRC_tools)))
$(eval $(call archive_rules,$1,libtest.a,$(TEST_lib)))
$(patsubst %.c,$(B)/$1/%.so,$(TEST_preload)): $(B)/$1/%.so: %.c
	@mkdir -p $$(@D)
	@echo "LINK $1 $$@"
	$(Q)$$(CC) $$(FLAGS) -O1 -fPIC -shared -o $$@ $$< -ldl
$(foreach k,engine bench,$(eval $(call test_program_rules,$1,$k,libtest.a libbitkv.a,-lcmocka $(LIBS_engine))))
$(foreach k,unit server clients crash,$(eval $(call test_program_rules,$1,$k,\
	libtest.a libtool.a libserver.a libbitkv.a,$(LIBS_test) -ljansson $(LIBS_server))))
$(foreach f,$(FAKES),$(eval $(call bins,$1,$(wildcard tests/unit/test_$f_*.c)): $(B)/$1/tests/lib/$f_fake.o))
$(eval $(call test_program_rules,$1,fuzz,libtest.a libtool.a libserver.a libbitkv.a,$(LD_$1_target) -ljansson $(LIBS_server)))

$(B)/$1/bitkv-server: $(B)/$1/libserver.a $(B)/$1/libbitkv.a
	@echo "LINK $1 $$@"
	$(Q)$$(CC_$1) $$(FLAGS_$1) $$(LDFLAGS_ALL) -o $$@ $$^ $(LIBS_server)
$(B)/$1/bitkv: $(B)/$1/libtool.a $(B)/$1/libbitkv.a
	@echo "LINK $1 $$@"
	$(Q)$$(CC_$1) $$(FLAGS_$1) $$(LDFLAGS_ALL) -o $$@ $$^ $(LIBS_tool)

# `make build-debug` makes the products of a variant, `make build-debug-unit` its programs of one kind of test.
.PHONY: build-$1 $(foreach k,$(TEST_KINDS) fuzz,build-$1-$k)
$(foreach k,$(TEST_KINDS) fuzz,$(eval build-$1-$k: $(call bins,$1,$(TEST_$k))))
build-$1 build-$1-server build-$1-clients build-$1-crash: $(call products,$1)
build-$1-server build-$1-crash: $(patsubst %.c,$(B)/$1/%.so,$(TEST_preload))
build-$1-crash: $(B)/nolocks/bitkv-server
-include $(wildcard $(B)/$1/src/*/*.d $(B)/$1/tests/*/*.d)
endef
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$v)))

# ---- Words ----

FORCE:
.PHONY: FORCE all run install test bench bench-engine bench-sync profile asan ubsan tsan valgrind fuzz lint cover format clean help tests
.PHONY: test-unit test-engine test-server test-crash test-tcl test-clients redis-suite

PRODUCTS := $(patsubst $(B)/release/%,$(B)/%,$(call products,release))
all: $(PRODUCTS)
$(PRODUCTS): $(B)/%: $(B)/release/%
	$(Q)ln -sfn release/$* $@

run:
	@deps/install.sh build
	@$(MAKE) --no-print-directory all
	@exec $(B)/bitkv-server --port 6379 --dir ./data

PREFIX ?= /usr/local
install: all
	install -D $(B)/bitkv-server $(DESTDIR)$(PREFIX)/bin/bitkv-server
	install -D $(B)/bitkv $(DESTDIR)$(PREFIX)/bin/bitkv
	install -D -m 644 src/tools/bitkv.1 $(DESTDIR)$(PREFIX)/share/man/man1/bitkv.1
	install -D -m 644 bitkv.conf $(DESTDIR)$(PREFIX)/share/doc/bitkv/bitkv.conf

test:
	@deps/install.sh build test $(if $(filter-out 0,$(CI)),clients)
	@B=$(B) MAKE="$(MAKE)" tests/run.sh all
test-clients:
	@deps/install.sh build test clients
	@B=$(B) MAKE="$(MAKE)" CLIENTS_ALL=1 tests/run.sh clients

tests: $(foreach k,unit engine server clients crash,build-debug-$k)
test-unit test-engine test-server test-crash test-tcl redis-suite lint asan ubsan tsan valgrind cover:
	@B=$(B) MAKE="$(MAKE)" tests/run.sh $(patsubst test-%,%,$@)
fuzz:
	@B=$(B) MAKE="$(MAKE)" FUZZ_SECONDS=$(T) tests/run.sh fuzz

bench:
	@deps/install.sh build bench
	@$(MAKE) --no-print-directory all build-release-bench
	@B=$(B) tests/bench/bench.sh
profile: all $(B)/release/tests/bench/bench_engine
	@B=$(B) tests/bench/profile.sh
bench-engine: $(B)/release/tests/bench/bench_engine
	@$< $(N)
bench-sync:
	@deps/install.sh build sync
	@$(MAKE) --no-print-directory $(B)/release/tests/bench/sync_ways
	@$(B)/release/tests/bench/sync_ways $(or $(DIR),$(B)) $(or $(BYTES),5000) $(ROUNDS)
$(B)/release/tests/bench/sync_ways: $(patsubst %,$(B)/release/tests/%.o,bench/sync_ways lib/spread lib/tmpdir)
	@echo "LINK release $@"
	$(Q)$(CC) $(FLAGS_release) $(LDFLAGS_ALL) -o $@ $^ -luring

format:
	clang-format -i $$(find src tests -name '*.[ch]')
clean:
	rm -rf $(B)

help:
	@echo "make               build/bitkv-server, build/bitkv and build/libbitkv.a, optimised"
	@echo "make run           install what is missing, build, serve port 6379 from ./data"
	@echo "make install       server, tool, manual page and bitkv.conf, to PREFIX=/usr/local under DESTDIR"
	@echo "make test          install what is missing, run every test that CI runs"
	@echo "make tests         build the test programs (debug)"
	@echo "make test-unit | test-engine | test-server | test-crash | test-tcl | lint"
	@echo "make test-clients  install client libraries of seven languages, and run tests/clients with all of them"
	@echo "make redis-suite   Redis's own tests (fetched once) against bitkv: unit, passed, failed, what Redis passes"
	@echo "make asan | ubsan | tsan | valgrind | cover | fuzz T=60"
	@echo "make bench         half an hour beside redis-server: tests/bench/results.md and plots; BENCH=quick: build/bench"
	@echo "make bench-engine [N=keys] | bench-sync [BYTES=N] [DIR=dir] | profile"
	@echo "make format        clang-format over src/ and tests/;  make clean: remove build/"
	@echo "CI=1 or WERROR=1: warnings are errors. VERBOSE=1: show commands. B=dir: another build directory."
