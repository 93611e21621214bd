#!/usr/bin/env bash
# Runs the README's main job against the real sha256sum, once undisturbed and once with a worker killed, and a small array_math: ci/example.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --help ]; then
  sed -n '2s/^# //p' "ci/$(basename "$0")"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=${CARGO_TARGET_DIR:-target}

cargo build --release --quiet --example checksum
checksum=$target/release/examples/checksum

echo "example: /usr/share/doc, as sha256sum prints it"
find /usr/share/doc -type f -print0 | LC_ALL=C sort -z | xargs -0 -n 64 sha256sum > "$work/expected"
cargo run --release --quiet --example checksum -- /usr/share/doc > "$work/printed"
cmp "$work/expected" "$work/printed"

echo "example: a worker is killed in the middle"
mkdir "$work/large"
for n in 1 2 3 4; do truncate -s 2G "$work/large/$n"; done
"$checksum" --workers 2 "$work/large" > "$work/printed" 2> "$work/report" &
main=$!
# The workers are the processes of the job that have a parent among its descendants; one is killed as soon as it reads a file.
worker=
while [ -z "$worker" ] && kill -0 "$main" 2>/dev/null; do
  for fd in /proc/[0-9]*/fd/*; do
    case $(readlink "$fd" 2>/dev/null || true) in
      "$work/large/"*) pid=${fd#/proc/}; pid=${pid%%/*}; [ "$pid" = "$main" ] || worker=$pid; break ;;
    esac
  done
done
[ -n "$worker" ] || { echo "example.sh: no worker was seen at work" >&2; exit 1; }
kill -9 "$worker"
wait "$main"
cat "$work/report" >&2
(cd / && find "$work/large" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | cmp - "$work/printed"
grep -Eq '1 (worker )?lost' "$work/report" || { echo "example.sh: the lost worker was not reported" >&2; exit 1; }
echo "example: array_math, which compares a pool's results with those of one thread"
cargo run --release --quiet --example array_math -- --bytes 16M --workers 2
code=0
cargo run --release --quiet --example array_math -- --bytes none 2> "$work/refused" || code=$?
[ "$code" = 2 ] || { echo "example.sh: wrong arguments gave exit code $code" >&2; exit 1; }
echo "example: ok"
