-- Permits for connections of one address and its network. KEYS[1] caller of the address, KEYS[2] of the network, in one slot.
-- ARGV: replica hold_ms window_ms, then address_open network_open asked rcpts, then for address and network each: connections at once,
-- connections and recipients a window, 0 for any number.
-- Returns admitted, limit, retry_ms, rcpts_wait_ms (contracts/callers.py CallerVerdict).
local now = now_ms()
local own, hold, window = 'o:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local asked, rcpts = tonumber(ARGV[6]), tonumber(ARGV[7])

local function look(key, open, first)
  local caller = {
    key = key, open = open, others = 0, gone = {}, began = 0, connections = 0, rcpts = 0,
    at_once = tonumber(ARGV[first]), a_window = tonumber(ARGV[first + 1]), rcpts_a_window = tonumber(ARGV[first + 2]),
  }
  local fields = redis.call('HGETALL', key)
  for n = 1, #fields, 2 do
    local field, value = fields[n], fields[n + 1]
    if string.sub(field, 1, 2) ~= 'o:' then
      caller[field] = tonumber(value)
    elseif field ~= own then
      local count, ends = string.match(value, '^(%d+)|(%d+)$')
      if tonumber(ends) > now then
        caller.others = caller.others + tonumber(count)
      else
        caller.gone[#caller.gone + 1] = field
      end
    end
  end
  if now - caller.began >= window or now < caller.began then
    caller.began, caller.connections, caller.rcpts = now, 0, 0
  end
  return caller
end

local callers = { look(KEYS[1], tonumber(ARGV[4]), 8), look(KEYS[2], tonumber(ARGV[5]), 11) }
local admitted, limit, retry = asked, '', 0
for _, caller in ipairs(callers) do
  local room = caller.at_once - caller.others - caller.open
  if caller.at_once > 0 and room < admitted then
    admitted, limit, retry = math.max(room, 0), 'connections', 1000
  end
  room = caller.a_window - caller.connections
  if caller.a_window > 0 and room < admitted then
    admitted, limit, retry = math.max(room, 0), 'rate', caller.began + window - now
  end
end
local rcpts_wait = 0
for _, caller in ipairs(callers) do
  caller.rcpts = caller.rcpts + rcpts
  if caller.rcpts_a_window > 0 and caller.rcpts >= caller.rcpts_a_window then
    rcpts_wait = math.max(rcpts_wait, caller.began + window - now)
  end
  if #caller.gone > 0 then
    redis.call('HDEL', caller.key, unpack(caller.gone))
  end
  redis.call('HSET', caller.key, 'began', digits(caller.began), 'connections', digits(caller.connections + admitted),
    'rcpts', digits(caller.rcpts))
  local held = caller.open + admitted
  if held > 0 then
    redis.call('HSET', caller.key, own, digits(held) .. '|' .. digits(now + hold))
  else
    redis.call('HDEL', caller.key, own)
  end
  redis.call('PEXPIRE', caller.key, math.max(hold, window))
end
return { admitted, limit, retry, rcpts_wait }
