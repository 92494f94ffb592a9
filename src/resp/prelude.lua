-- What scripts see of Redis, over one function of the server that returns a reply, or nothing and an error.
local ask = ...
local error, tostring, setmetatable = error, tostring, setmetatable

function redis.call(...)
  local reply, failed = ask(...)
  if failed then error({ err = failed }, 0) end
  return reply
end

function redis.pcall(...)
  local reply, failed = ask(...)
  if failed then return { err = failed } end
  return reply
end

-- A script that forgets `local` is told so.
setmetatable(_G, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function() error("Attempt to modify a readonly table", 2) end,
})
