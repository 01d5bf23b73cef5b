-- Takes over what a proxy has counted of a sliding window, and takes some requests more where there is room.
-- The same as `WindowRecord::take` of headgate-engine; a test compares them.
--
-- KEYS[1]  hash: w index of the current period, p and c counts of the period before and of it, b end of the block,
--          and for each proxy what it has told: "memory index previous current"
-- ARGV     now (0: this server's clock), period, limit, blockFor, cost, proxy, memory, index, previous, current,
--          blocked until
-- Answers  admitted, index, others previous, others current, own previous, own current, blocked until, now
local MOST = 100000000
local now, period, limit, block_for, cost =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local proxy, memory, told = ARGV[6], ARGV[7], tonumber(ARGV[8])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function shift(previous, current, periods)
  if periods == 0 then return previous, current end
  if periods == 1 then return current, 0 end
  return 0, 0
end
local function text(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', KEYS[1], 'w', 'p', 'c', 'b', proxy)
local before = tonumber(known[1] or 0)
local previous, current, blocked = tonumber(known[2] or 0), tonumber(known[3] or 0), tonumber(known[4] or 0)

local present = math.floor(now / period)
local elapsed = now - present * period
-- A proxy may be a moment ahead, by one period at most; what is further ahead comes from a wrong clock.
if told > present + 1 then told = present end
local index = math.max(before, present, told)
previous, current = shift(previous, current, index - before)
if index > present then elapsed = 0 end

local changed = false
local own_previous, own_current = 0, 0
local own_memory, own_index, own_before, own_now = string.match(known[5] or '', '^(%d+) (%d+) (%d+) (%d+)$')
if own_memory == memory then
  own_previous, own_current = shift(tonumber(own_before), tonumber(own_now), index - tonumber(own_index))
end
local told_previous, told_current = shift(tonumber(ARGV[9]), tonumber(ARGV[10]), index - told)
if told_previous > own_previous then
  previous = math.min(previous + told_previous - own_previous, MOST)
  own_previous, changed = told_previous, true
end
if told_current > own_current then
  current = math.min(current + told_current - own_current, MOST)
  own_current, changed = told_current, true
end

-- Of two blocks the one that began first holds.
local blocked_until = tonumber(ARGV[11])
if blocked <= now and blocked_until > now then
  blocked, changed = math.min(blocked_until, now + block_for), true
end

local admitted = 1
if cost > 0 then
  if block_for > 0 and blocked > now then
    admitted = 0
  elseif (limit - current - cost) * period >= previous * (period - elapsed) then
    current, own_current = math.min(current + cost, MOST), math.min(own_current + cost, MOST)
    changed = true
  else
    admitted = 0
    if block_for > 0 then blocked, changed = now + block_for, true end
  end
end

if changed then
  redis.call('HSET', KEYS[1], 'w', text(index), 'p', text(previous), 'c', text(current), 'b', text(blocked),
    proxy, memory .. ' ' .. text(index) .. ' ' .. text(own_previous) .. ' ' .. text(own_current))
  redis.call('PEXPIRE', KEYS[1], text(math.max(2 * period, blocked - now) + 1000))
end
if blocked <= now then blocked = 0 end
return { admitted, index, math.max(previous - own_previous, 0), math.max(current - own_current, 0), own_previous,
  own_current, blocked, now }
