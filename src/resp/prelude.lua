-- What is easier said in Lua than in the server. It is given a function that makes of an error what scripts know as one.
local plain = ...
local error, tostring, setmetatable, try = error, tostring, setmetatable, pcall

local function settle(is_fine, ...)
  if is_fine then return true, ... end
  return false, plain((...))
end

function pcall(...)
  return settle(try(...))
end

-- A script that forgets `local` is told so.
setmetatable(_G, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function() error("Attempt to modify a readonly table", 2) end,
})
