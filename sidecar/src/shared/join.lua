-- Says that a proxy lives, and answers how many do and which secret they count under.
--
-- KEYS[1]  sorted set of the proxies of a group, by the moment until which they count as alive
-- KEYS[2]  the secret, of all groups
-- ARGV     now (0: this server's clock), proxy, lives for, secret
-- Answers  proxies, secret, now
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
redis.call('SET', KEYS[2], ARGV[4], 'NX')
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return { redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2]), now }
