#!/bin/sh
# Compile the shim of a pod: build-shim.sh TARGET. Static, so that it runs in every image, and stripped.
set -eu
exec "${CC:-gcc}" -std=c11 -pedantic -O2 -static -s -pthread \
    -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
    -o "$1" "$(dirname "$0")/shim.c"
