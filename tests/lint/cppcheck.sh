#!/bin/bash
# SPDX-License-Identifier: MIT
# cppcheck.sh - cppcheck over src/ and tests/. Left out: what comes of not reading the headers of the system, and NULL as
# the last of variable arguments (a pointer on every system that we build on).
. "$(dirname "$0")/report.bash"

expect_nothing "cppcheck finds nothing" "$(cppcheck --quiet -j "$(nproc)" --std=c11 --language=c -D__GNUC__=12 \
    -DTEST_SERVER='"x"' -DTEST_TOOL='"x"' -Isrc -Itests -Itests/lib \
    --enable=warning,performance,portability --inline-suppr \
    --suppress=missingInclude --suppress=unknownMacro --suppress=unusedStructMember --suppress=invalidFunctionArgBool --suppress=varFuncNullUB \
    --template='{file}:{line}: {severity}: {message} [{id}]' src tests 2>&1)"
finish
