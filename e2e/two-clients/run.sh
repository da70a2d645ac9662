#!/usr/bin/env bash
# A chat between two different clients: Alice is curl, Bob is a WebSocket client in Python.
#
#   e2e/two-clients/run.sh [URL]        default: http://127.0.0.1:8080, where `make run` listens
#
# Exits 0 when each has heard the other, 77 when this machine lacks curl or Python's websockets.
set -euo pipefail
url=${1:-http://127.0.0.1:8080}
here=$(cd "$(dirname "$0")" && pwd)

python=
for candidate in /usr/bin/python3 python3; do
  if "$candidate" -c 'import websockets' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "skipped: python3-websockets is not installed" >&2; exit 77; }
command -v curl >/dev/null || { echo "skipped: curl is not installed" >&2; exit 77; }

work=$(mktemp -d)
bob=
cleanup() {
  if [ -n "$bob" ]; then kill "$bob" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

# call METHOD PATH TOKEN [JSON]: prints the answer's body; fails on a status of 400 or more. A 503 says that the same may be asked again
# soon: a cluster that is busy gives it, and curl then asks again, as any client is to.
call() {
  local arguments=(--silent --show-error --fail-with-body --max-time 20 --retry 5 --request "$1")
  [ -z "$3" ] || arguments+=(--header "Authorization: Bearer $3")
  [ $# -lt 4 ] || arguments+=(--header 'Content-Type: application/json' --data "$4")
  curl "${arguments[@]}" "$url$2" || { echo "failed: $1 $2" >&2; return 1; }
}
# field NAME: the first field of that name on standard input, text or number.
field() { grep -oE "\"$1\":(\"[^\"]*\"|[0-9]+)" | head -n 1 | cut -d: -f2- | tr -d '"'; }
# within SECONDS WHAT COMMAND...: tries until the command succeeds.
within() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || { echo "waited in vain: $what" >&2; cat "$work"/bob.log >&2 || true; exit 1; }
    sleep 0.05
  done
}

# register NAME: an account with the code from its mail; prints the session.
register() {
  local name=$1 mail=$1@example.com code
  call POST /v1/auth/register "" \
    "{\"email\":\"$mail\",\"username\":\"$name\",\"password\":\"a long enough pass phrase 7\"}" >/dev/null
  code=$(call GET "/dev/mailbox?to=$mail" "" | field text | grep -oE '[0-9]{6,8}' | head -n 1)
  call POST /v1/auth/verify "" "{\"email\":\"$mail\",\"code\":\"$code\"}"
}

number=$(date +%s)$$
alice_session=$(register "alice$number")
bob_session=$(register "bob$number")
alice=$(field access_token <<<"$alice_session")

room=$(call POST /v1/rooms "$alice" '{"name":"Two clients","kind":"group","visibility":"public"}' | field id)
call POST "/v1/rooms/$room/join" "$(field access_token <<<"$bob_session")" >/dev/null

ROOKERY_TOKEN=$(field access_token <<<"$bob_session") "$python" "$here/bob.py" "$url" "$room" "alice$number" \
  >"$work/bob.log" 2>&1 &
bob=$!
within 20 "Bob is connected" grep -q listening "$work/bob.log"

# Alice speaks; Bob answers over the WebSocket.
said=$(call POST "/v1/rooms/$room/messages" "$alice" '{"text":"Bob, do you hear me?","client_msg_id":"hello"}' | field seq)
answer() { call GET "/v1/rooms/$room/messages?after=$said" "$alice" | grep -q 'I hear you, Alice. 🐦'; }
within 20 "Alice reads Bob's answer" answer
# She sends again what she is not sure of: it is not said twice.
again=$(call POST "/v1/rooms/$room/messages" "$alice" '{"text":"Bob, do you hear me?","client_msg_id":"hello"}' | field seq)
[ "$again" = "$said" ] || { echo "said twice: $said and $again" >&2; exit 1; }

# She changes what she said, likes his answer, and writes to him directly; he hears all of it.
call PATCH "/v1/rooms/$room/messages/$said" "$alice" '{"text":"Bob, do you hear me now?"}' >/dev/null
answered=$(call GET "/v1/rooms/$room/messages?after=$said&limit=1" "$alice" | field seq)
call PUT "/v1/rooms/$room/messages/$answered/reactions/%F0%9F%91%8D" "$alice" >/dev/null
direct=$(call PUT "/v1/direct/bob$number" "$alice" | field id)
call POST "/v1/rooms/$direct/messages" "$alice" '{"text":"Between us","client_msg_id":"direct"}' >/dev/null

wait "$bob" || { echo "Bob did not hear everything:" >&2; cat "$work/bob.log" >&2; exit 1; }
bob=
reply() { call GET "/v1/rooms/$direct/messages" "$alice" | grep -q 'It stays between us.'; }
within 20 "Alice reads Bob's direct answer" reply
cat "$work/bob.log"
echo "Alice and Bob have talked."
