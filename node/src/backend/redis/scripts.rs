//! The steps that one command of Redis cannot do.
//!
//! Each touches one key, so that it runs in a Redis Cluster as well. Time is Redis' own: nodes' clocks do not matter.

use redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind, Value, cmd};

use super::wire::Wire;

/// A script and its hash, by which Redis knows it after the first use.
pub(super) struct Lua {
    code: &'static str,
    hash: String,
}

impl Lua {
    fn new(code: &'static str) -> Self {
        Self { code, hash: Script::new(code).get_hash().to_owned() }
    }

    /// Runs it on one key.
    pub(super) async fn run(&self, wire: &Wire, key: &str, arguments: &[&[u8]]) -> RedisResult<Value> {
        match wire.query(&call("EVALSHA", self.hash.as_bytes(), key, arguments)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // Redis is new or has restarted. This also teaches it the script; nothing was done by the first try.
                wire.query(&call("EVAL", self.code.as_bytes(), key, arguments)).await
            }
            answer => answer,
        }
    }
}

fn call(name: &str, script: &[u8], key: &str, arguments: &[&[u8]]) -> Cmd {
    let mut call = cmd(name);
    call.arg(script).arg(1).arg(key).arg(arguments);
    call
}

/// All scripts.
pub(super) struct Scripts {
    /// `old, new, ms` → 1 if the value was `old`.
    pub(super) swap: Lua,
    /// `ms` → the count.
    pub(super) count: Lua,
    /// `burst, µs` → 0: allowed; else: not before so many µs.
    pub(super) rate: Lua,
    /// `item, ms, most` → 1; 0 if the list is full.
    pub(super) enlist: Lua,
    /// → items that have not ended.
    pub(super) listed: Lua,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            swap: Lua::new(SWAP),
            count: Lua::new(COUNT),
            rate: Lua::new(RATE),
            enlist: Lua::new(ENLIST),
            listed: Lua::new(LISTED),
        }
    }
}

const SWAP: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

const COUNT: &str = "\
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count";

/// As `embedded/ttl/quota.rs`, in microseconds: nanoseconds since 1970 are beyond the integers of a double.
/// After a failover Redis' clock may be behind: nobody waits longer than for a whole quota.
const RATE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local per = tonumber(ARGV[2])
local each = math.max(1, math.floor(per / ARGV[1]))
local due = math.min(tonumber(redis.call('GET', KEYS[1]) or 0), now + per)
local start = math.max(due, now)
local wait = start - now - (per - each)
if wait > 0 then return wait end
due = start + each
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.max(1, math.ceil((due - now) / 1000)))
return 0";

/// A sorted set: when each item ends. It is gone with its last item.
const ENLIST: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2]))
return 1";

const LISTED: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')";
