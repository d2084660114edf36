-- The job's requests, one after the other, from the file that is named behind "--".
local requests = {}
local at = 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local all = file:read("*a")
  file:close()
  for request in all:gmatch("(.-\r\n\r\n)") do requests[#requests + 1] = request end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
