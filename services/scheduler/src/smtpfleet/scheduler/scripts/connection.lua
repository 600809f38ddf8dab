-- Functions on the permits of connections. Keys: contracts/keys.py; `tag` is their hash tag.

-- A relay that was refused stays in line this long; it asks again before that (contracts RELAY_WAIT_MAX_MS) if it still has work.
local LINE_MS = 90000
-- A permit that was freed is kept so long for the relay that was first in line: its worker has to claim, load and ask. Chosen.
local TURN_MS = 2000

-- Milliseconds left of a delay that began at the time `key` holds; 0 or less where it is over.
local function left_of(key, delay_ms, now)
  if delay_ms <= 0 then
    return 0
  end
  local at = redis.call('GET', key)
  -- Never more than the delay itself, should the store's clock have been set back.
  return at and math.min(delay_ms, delay_ms - (now - tonumber(at))) or 0
end

-- Permits of this name that `relay` could have now; one may be kept for another.
local function free_of(tag, name, most, relay, now)
  redis.call('ZREMRANGEBYSCORE', tag .. 'held:' .. name, '-inf', digits(now))
  local free = most - redis.call('ZCARD', tag .. 'held:' .. name)
  local turn = redis.call('GET', tag .. 'turn:' .. name)
  return turn and turn ~= relay and free - 1 or free
end

-- Puts the relay into the line, where it keeps its place. Returns how many wait.
local function line_up(tag, name, relay, now)
  local line = tag .. 'line:' .. name
  redis.call('ZREMRANGEBYSCORE', line, '-inf', digits(now - LINE_MS))
  redis.call('ZADD', line, 'NX', digits(now), relay)
  redis.call('PEXPIRE', line, LINE_MS)
  return redis.call('ZCARD', line)
end

-- Keeps the permit that was freed for the first in line. Returns that relay, nil where nobody waits.
local function hand_on(tag, name)
  local first = redis.call('ZPOPMIN', tag .. 'line:' .. name)[1]
  if first then
    redis.call('SET', tag .. 'turn:' .. name, first, 'PX', TURN_MS)
  end
  return first
end
