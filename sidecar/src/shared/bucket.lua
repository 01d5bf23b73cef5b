-- Takes over what a proxy has counted of a token bucket, and takes some requests more where there is room.
-- The same as `BucketRecord::take` of headgate-engine; a test compares them.
--
-- KEYS[1]  hash: u units used, t when, b end of the block, and for each proxy what it has told: "memory total"
-- ARGV     now (0: this server's clock), period, limit, blockFor, cost, proxy, memory, total, told, used, burst,
--          blocked until
-- Answers  admitted, used, at, own total, blocked until, now
local MOST = 100000000
local now, period, limit, block_for, cost =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local proxy, memory, total, told, view, burst =
  ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function filled(used, requests) return math.min(used + math.min(requests, MOST) * period, MOST * period) end
local function text(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', KEYS[1], 'u', 't', 'b', proxy)
local used, at, blocked = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
if now > at then
  used, at = math.max(used - limit * (now - at), 0), now
end

local changed = false
local own = 0
local own_memory, own_total = string.match(known[4] or '', '^(%d+) (%d+)$')
if own_memory == memory then
  own = tonumber(own_total)
  if total > own then used, own, changed = filled(used, total - own), total, true end
elseif told > 0 then
  -- It was told before and is not known: this server has lost it. What the proxy knew of all is the best there is, and
  -- what it has counted since comes on top.
  local untold = math.max(total - told, 0)
  used, own, changed = filled(math.max(used, view - filled(0, untold)), untold), total, true
elseif total > 0 then
  used, own, changed = filled(used, total), total, true
end

-- Of two blocks the one that began first holds.
local blocked_until = tonumber(ARGV[12])
if blocked <= now and blocked_until > now then
  blocked, changed = math.min(blocked_until, now + block_for), true
end

local admitted = 1
if cost > 0 then
  if block_for > 0 and blocked > now then
    admitted = 0
  elseif burst * period - used >= cost * period then
    used, own, changed = filled(used, cost), own + cost, true
  else
    admitted = 0
    if block_for > 0 then blocked, changed = now + block_for, true end
  end
end

if changed then
  redis.call('HSET', KEYS[1], 'u', text(used), 't', text(at), 'b', text(blocked), proxy, memory .. ' ' .. text(own))
  redis.call('PEXPIRE', KEYS[1], text(math.max(math.ceil(used / limit), blocked - now) + 1000))
end
if blocked <= now then blocked = 0 end
return { admitted, text(used), at, own, blocked, now }
