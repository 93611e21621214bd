#!/usr/bin/env bash
# Measures the checksum example against `find | sort -z | xargs -P sha256sum`, on small and on large files: ci/bench_checksum.sh
#
# Each round runs both, one after the other, so that a machine that changes its speed changes it for both. What counts
# is the median of the rounds' ratios; above 1 the example is faster. The page cache is warm: the first run of each
# fills it, and there their outputs are compared.
#
# Environment: ROUNDS (9), WORKERS (the cores), SMALL (/usr/share/doc), LARGE_FILES (8), LARGE_MIB (256).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --help ]; then
  sed -n '2s/^# //p' "ci/$(basename "$0")"
  exit 0
fi
rounds=${ROUNDS:-9}
workers=${WORKERS:-$(nproc)}
small=${SMALL:-/usr/share/doc}
files=${LARGE_FILES:-8}
mib=${LARGE_MIB:-256}

cargo build --quiet --release --example checksum
checksum=${CARGO_TARGET_DIR:-target}/release/examples/checksum

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

ours() { "$checksum" --workers "$workers" "$1" 2>"$scratch/words"; }
theirs() { find "$1" -type f -print0 | sort -z | xargs -0 -P "$workers" -n "$each" sha256sum; }

# microseconds COMMAND...: how long it takes, its output thrown away.
microseconds() {
  local start=${EPOCHREALTIME/[.,]/}
  "$@" >/dev/null
  echo $((${EPOCHREALTIME/[.,]/} - start))
}

# column N: its lowest, median and highest value.
column() {
  cut -d' ' -f"$1" "$scratch/rounds" | sort -g |
    awk '{ v[NR] = $1 } END { print v[1], (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2, v[NR] }'
}

# compare NAME TREE EACH: against `xargs -n EACH`.
compare() {
  each=$3
  ours "$2" >"$scratch/ours"
  theirs "$2" >"$scratch/theirs"
  if ! cmp -s <(LC_ALL=C sort "$scratch/ours") <(LC_ALL=C sort "$scratch/theirs"); then
    echo "bench_checksum: the outputs differ on $2" >&2
    exit 1
  fi
  for ((round = 0; round < rounds; round++)); do
    echo "$(microseconds ours "$2") $(microseconds theirs "$2")"
  done | awk '{ print $1, $2, $2 / $1 }' >"$scratch/rounds"
  awk -v name="$1" -v each="$each" -v rounds="$rounds" \
    -v found="$(wc -l <"$scratch/ours")" -v kib="$(du -sk "$2" | cut -f1)" \
    -v ours="$(column 1)" -v theirs="$(column 2)" -v ratio="$(column 3)" \
    'BEGIN {
      split(ours, o, " "); split(theirs, t, " "); split(ratio, r, " ")
      printf "%s (%d files, %.0f MiB): checksum %.3f s, xargs -n %d %.3f s, ratio %.2f (%.2f to %.2f in %d rounds)\n",
        name, found, kib / 1024, o[2] / 1e6, each, t[2] / 1e6, r[2], r[1], r[3], rounds
    }'
}

# Where coreutils has OpenSSL, sha256sum uses the processor's SHA instructions too.
if ldd "$(command -v sha256sum)" | grep -q libcrypto; then openssl=with; else openssl=without; fi
echo "$(nproc) cores, $workers workers; $(sha256sum --version | head -n 1) $openssl OpenSSL; page cache warm"
echo "ratio = time of xargs / time of checksum, median; the outputs are equal once sorted"

compare "$small" "$small" 64

mkdir "$scratch/large"
for ((file = 0; file < files; file++)); do
  head -c "${mib}M" /dev/urandom >"$scratch/large/$file"
done
compare "large files" "$scratch/large" 64
# With 64 files each, a few files are all one process's: that is no match in parallel. This is.
compare "large files" "$scratch/large" 1
