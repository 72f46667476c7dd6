-- Requests of many users (of fewer where bodies are large), prepared once and sent in turn, so that the load costs
-- little on the load's own core.
-- Arguments after `--`: the method and the size of the body in bytes. Prints one line of JSON at the end.
local USERS, MEMORY = 10000, 32 * 1024 * 1024

local requests, turn, users = {}, 0, USERS

function init(args)
  local method, size = args[1], tonumber(args[2])
  local headers, body = { ["Host"] = "bench.test" }, nil
  if size > 0 then
    local head, tail = '{"order":"A-1002","amount":129.90,"currency":"EUR","note":"', '"}'
    body = head .. string.rep("x", size - #head - #tail) .. tail
    headers["Content-Type"] = "application/json"
  end
  users = math.min(USERS, math.max(16, math.floor(MEMORY / (size + 1))))
  for user = 1, users do
    headers["x-user-id"] = string.format("user-%05d", user)
    requests[user] = wrk.format(method, nil, headers, body)
  end
end

function request()
  turn = turn % users + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
