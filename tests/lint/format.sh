#!/bin/bash
# SPDX-License-Identifier: MIT
# format.sh - every C file looks as clang-format leaves it (`make format` does it).
. "$(dirname "$0")/report.bash"

for file in $(c_files); do
    expect_nothing "clang-format: $file" "$(clang-format --dry-run -Werror "$file" 2>&1 | grep -m 3 error)"
done
finish
