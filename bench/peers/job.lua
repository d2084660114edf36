-- The requests of the job, one after the other, from the file that is named first behind "--".
-- A second argument: milliseconds that each connection waits on average between two requests.
local requests = {}
local at = 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local all = file:read("*a")
  file:close()
  local from = 1
  while from <= #all do
    -- Each is behind its length, as some have bodies.
    local _, last, length = all:find("^(%d+) ", from)
    from = last + 1 + tonumber(length)
    requests[#requests + 1] = all:sub(last + 1, from - 1)
  end
  local wait = tonumber(arguments[2])
  if wait then
    math.randomseed(7)
    -- Whole milliseconds only: random ones between none and twice as many.
    function delay() return math.floor(math.random() * 2 * wait + 0.5) end
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
