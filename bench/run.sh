#!/usr/bin/env bash
# Measures the node against raw writers: the whole set, in one run.
#
#   bench/run.sh [--quick] [NAME...]     NAME: fanout rooms idle connect send (default: these), or
#                                        cluster (all of cluster-sends, -fanout, -rooms, -nodes, -history), mailer, or translator
#
# Server and generator get a core each, in a network namespace with loopback alone: firewall rules of container engines
# halve loopback. Both want root (or a user namespace); without, it goes on and says so. About 8 minutes, --quick 2.
# The parts of a cluster share all cores; its servers are fetched once, by scripts/servers. About 10 minutes, --quick 4;
# mailer 6, --quick 1; translator 8, --quick 2.
# Leaves JSON with every step and the table in bench/results/.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=
names=()
for word in "$@"; do
  case $word in
    --quick) quick=1 ;;
    fanout | rooms | idle | connect | send | cluster-sends | cluster-fanout | cluster-rooms | cluster-nodes | \
      cluster-history | mailer | translator) names+=("$word") ;;
    cluster) names+=(cluster-sends cluster-fanout cluster-rooms cluster-nodes cluster-history) ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=(fanout rooms idle connect send)

if [ -z "${ROOKERY_BENCH_INSIDE:-}" ]; then
  ${CARGO:-cargo} build --release --locked -p rookery-node -p rookery-mailer -p rookery-translator -p rookery-bench
  case ${names[*]} in *cluster* | *mailer* | *translator*) scripts/servers ;; esac
  case ${names[*]} in *translator*) scripts/models || echo "Firefox' models could not be fetched." >&2 ;; esac
  export ROOKERY_BENCH_INSIDE=1
  for isolate in "unshare --net" "unshare --net --map-root-user"; do
    if $isolate ip link set lo up 2>/dev/null; then
      # A session of its own, so that the scheduler's share can be asked for as a whole.
      exec setsid --wait $isolate "$0" "$@"
    fi
  done
  echo "No network namespace: needs root or user namespaces. Firewall rules may slow loopback." >&2
fi
ip link set lo up 2>/dev/null || true
# Other work on the machine should disturb little; where that is not allowed, medians have to do.
{ echo -20 >/proc/self/autogroup; } 2>/dev/null && renice -n -20 -p $$ >/dev/null 2>&1 || true

generator=0 server=1
if [ "$(nproc)" -lt 2 ]; then
  echo "One core only: server and generator share it, and the figures say little." >&2
  server=0
fi

results=bench/results
mkdir -p "$results"
repetitions=3 window=1.5 sends= cluster=
if [ "$quick" ]; then
  repetitions=1 window=1 sends="--levels 1:1,256:1,1024:200" cluster="--window 2 --warm-up 0.5"
fi

reports=()
for name in "${names[@]}"; do
  echo "== $name, $(date -u +%H:%M:%S)" >&2
  if [[ $name = cluster-* ]]; then
    target/release/rookery-bench cluster --measure "${name#cluster-}" --repetitions "$repetitions" \
      --json "$results/$name.json" $cluster >/dev/null
    reports+=("$results/$name.json")
    continue
  fi
  if [ "$name" = mailer ] || [ "$name" = translator ]; then
    target/release/rookery-bench "$name" --repetitions "$repetitions" --json "$results/$name.json" $cluster >/dev/null
    reports+=("$results/$name.json")
    continue
  fi
  flags=(--server-cpu "$server" --json "$results/$name.json")
  case $name in
    fanout) flags+=(--repetitions "$repetitions" --window "$window" --warm-up 0.5) ;;
    rooms) flags+=(--repetitions "$repetitions" --window "$window" --warm-up 0.5 --targets rookery,raw) ;;
    connect) flags+=(--repetitions "$repetitions" --window 3) ;;
    send) flags+=(--window "$window" $sends) ;;
    idle) ;;
  esac
  taskset -c "$generator" target/release/rookery-bench "$name" "${flags[@]}" >/dev/null
  reports+=("$results/$name.json")
done
{
  echo "Measured $(date -u +%Y-%m-%d), revision $(git rev-parse --short HEAD 2>/dev/null || echo unknown), load average $(cut -d' ' -f1 /proc/loadavg), with"
  echo "\`bench/run.sh${*:+ $*}\` on:"
  target/release/rookery-bench table "${reports[@]}"
} | tee "$results/table.md"
