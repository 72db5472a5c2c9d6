#!/bin/sh
# Runs one target: run.sh TARGET [SECONDS] [further options of libFuzzer]
set -eu
cd "$(dirname "$0")/.."
target=${1:?which target?}
seconds=${2:-600}
[ $# -gt 1 ] && shift 2 || shift 1

# Longer inputs take more time each and find little that shorter ones do not.
case $target in
auth_config) max_len=8192 ;;
check_request | http_endpoint | jwt | keys | x509) max_len=4096 ;;
policy | selector) max_len=2048 ;;
cel | changes | credentials | spiffe) max_len=1024 ;;
*) echo "unknown target: $target" >&2; exit 2 ;;
esac

# The compiler is a stable one; coverage counters need to be asked for all the same.
export RUSTC_BOOTSTRAP=1
cargo fuzz build --sanitizer "${SANITIZER:-none}" "$target"

# The service runs on threads with stacks of 2 MiB: what overflows there shall overflow here.
ulimit -s 2048
mkdir -p "fuzz/corpus/$target"
exec cargo fuzz run --sanitizer "${SANITIZER:-none}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -dict="fuzz/dictionaries/$target.dict" -max_len="$max_len" -timeout=10 -rss_limit_mb=2048 \
    -max_total_time="$seconds" -print_final_stats=1 "$@"
