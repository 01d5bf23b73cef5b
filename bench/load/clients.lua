-- wrk -s clients.lua URL: requests of CLIENTS clients (environment), told apart by the header x-client.
-- They come in strides, so that neighbours in a table are not neighbours in time.
local clients = tonumber(os.getenv("CLIENTS") or "1")
local stride = 7919
local requests, position = {}, 0

function init(args)
  for index = 0, clients - 1 do
    requests[index] = wrk.format("GET", nil, { Host = "h0.bench.test", ["x-client"] = string.format("client-%08d", index) })
  end
end

function request()
  position = (position + stride) % clients
  return requests[position]
end

function done(summary, latency, per_request)
  local errors = summary.errors
  io.write(string.format('JSON {"requests":%d,"us":%d,"errors":%d,"refused":%d}\n', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
