-- wrk -s hosts.lua URL: requests for h0.bench.test, h1.bench.test … in turn, HOSTS of them (environment).
-- The hosts are visited in strides, so that neighbours in a table are not neighbours in time.
local hosts = tonumber(os.getenv("HOSTS") or "1")
local stride = 7919
local requests, position = {}, 0

function init(args)
  for index = 0, hosts - 1 do
    requests[index] = wrk.format("GET", nil, { Host = "h" .. index .. ".bench.test" })
  end
end

function request()
  position = (position + stride) % hosts
  return requests[position]
end

function done(summary, latency, per_request)
  local errors = summary.errors
  io.write(string.format('JSON {"requests":%d,"us":%d,"errors":%d}\n', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
