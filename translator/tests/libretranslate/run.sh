#!/usr/bin/env bash
# Checks our LibreTranslate client against the real LibreTranslate (PyPI), once in a while, by hand: CI has a server that speaks its
# API. Needs Python with venv, network for the first time (30 MB), and apertium-eng-spa. What translates is Apertium (launcher.py).
#
#   translator/tests/libretranslate/run.sh
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=translator/tests/libretranslate

cache=${XDG_CACHE_HOME:-$HOME/.cache}/rookery/libretranslate
if ! cmp -s "$here/requirements.txt" "$cache/requirements.txt"; then
  echo "libretranslate: fetching it from PyPI"
  rm -rf -- "$cache"
  python3 -m venv "$cache"
  # Without what it asks for itself: models, and the libraries that run them.
  "$cache/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
  cp -- "$here/requirements.txt" "$cache/requirements.txt"
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf -- "$work"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
launcher=$PWD/$here/launcher.py
cd "$work"
mkdir db
# A key for as many calls as are made, and one for a single one in a minute.
"$cache/bin/python" "$launcher" keys db/api_keys.db 100000 a-key-that-nobody-may-see 1 a-key-for-one-call
"$cache/bin/python" "$launcher" --host 127.0.0.1 --port "$port" --api-keys --api-keys-db-path db/api_keys.db \
  --batch-limit 50 --char-limit 2000 --req-limit 1000 >server.log 2>&1 &
server=$!
for try in $(seq 600); do
  if curl -sf "http://127.0.0.1:$port/languages" >/dev/null 2>&1; then break; fi
  if ! kill -0 "$server" 2>/dev/null || [ "$try" = 600 ]; then
    echo "libretranslate: it does not start:" >&2; tail -n 20 server.log >&2; exit 1
  fi
  sleep 0.1
done
cd - >/dev/null
"$cache/bin/pip" list 2>/dev/null | grep -i '^libretranslate '
ROOKERY_LIBRETRANSLATE=http://127.0.0.1:$port ${CARGO:-cargo} test -p rookery-translator --test it -- \
  --ignored --nocapture the_real_libretranslate
