-- Takes all permits of one connection, or none. KEYS[1] tag of the permits. ARGV: holder relay lease_ms most_wait_ms, then per permit:
-- name most delay_ms reconnect_delay_ms (most -1: not counted).
-- Returns wait_ms, the name refused, whether others wait (0|1): {0, '', n} where the holder has them all now.
local tag, holder, relay, lease_ms, most_wait_ms = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
-- A limit is looked at again in 5 s (OpenSMTPD mta.c), later where many wait: they have their turn when a permit is freed, this is for
-- permits that nobody frees. Chosen: 1,000 relays in line ask 40 times a second.
local RECHECK_MS, RECHECK_PER_RELAY_MS = 5000, 20

local wishes = {}
for i = 5, #ARGV, 4 do
  wishes[#wishes + 1] = {
    name = ARGV[i], most = tonumber(ARGV[i + 1]), delay = tonumber(ARGV[i + 2]), reconnect = tonumber(ARGV[i + 3])
  }
end

-- A holder that has them asks again after a lost answer.
if redis.call('EXISTS', tag .. 'holder:' .. holder) == 0 then
  for _, wish in ipairs(wishes) do
    local wait = math.max(
      left_of(tag .. 'begun:' .. wish.name, wish.delay, now), left_of(tag .. 'ended:' .. wish.name, wish.reconnect, now)
    )
    if wait <= 0 and wish.most >= 0 and free_of(tag, wish.name, wish.most, relay, now) <= 0 then
      wait = RECHECK_MS + RECHECK_PER_RELAY_MS * line_up(tag, wish.name, relay, now)
    end
    if wait > 0 then
      return { math.min(wait, most_wait_ms), wish.name, 0 }
    end
  end
end

local until_ms, crowd = digits(now + lease_ms), 0
for _, wish in ipairs(wishes) do
  if wish.most >= 0 then
    redis.call('ZADD', tag .. 'held:' .. wish.name, until_ms, holder)
    redis.call('PEXPIRE', tag .. 'held:' .. wish.name, lease_ms)
    redis.call('SADD', tag .. 'holder:' .. holder, wish.name)
    redis.call('ZREM', tag .. 'line:' .. wish.name, relay)
    crowd = crowd + redis.call('EXISTS', tag .. 'line:' .. wish.name)
    if redis.call('GET', tag .. 'turn:' .. wish.name) == relay then
      redis.call('DEL', tag .. 'turn:' .. wish.name)
    end
  end
  if wish.delay > 0 then
    redis.call('SET', tag .. 'begun:' .. wish.name, digits(now), 'PX', wish.delay)
  end
end
redis.call('PEXPIRE', tag .. 'holder:' .. holder, lease_ms)
return { 0, '', math.min(crowd, 1) }
