-- What is easier said in Lua than in the server. It is given a function that makes of an error what scripts know as one.
local plain = ...
local error, tostring, tonumber, setmetatable, try = error, tostring, tonumber, setmetatable, pcall
local next, select, type = next, select, type
local repeated, insert, sort = string.rep, table.insert, table.sort

local function settle(is_fine, ...)
  if is_fine then return true, ... end
  return false, plain((...))
end

function pcall(...)
  return settle(try(...))
end

-- Lua goes through all repetitions, though there is nothing to repeat.
function string.rep(text, count)
  if text == '' then return '' end
  return repeated(text, count)
end

-- Lua goes from the end of the list to any position, of which it takes the low 32 bits.
function table.insert(list, ...)
  if select('#', ...) == 2 then
    local position = tonumber((...)) or 1
    if not (position >= 1 and position < 2 ^ 31) then
      error("bad argument #2 to 'insert' (position out of bounds)", 2)
    end
  end
  return insert(list, ...)
end

-- With comparisons in Lua it is looked whether the script computes for too long.
function table.sort(list, is_before)
  local compare = is_before
  if is_before == nil then
    compare = function(left, right) return left < right end
  elseif type(is_before) == 'function' then
    compare = function(left, right) return is_before(left, right) end
  end
  return sort(list, compare)
end

-- And so it is with these, whatever they are given to call.
function table.foreach(list, visit)
  for key, value in next, list do
    local found = visit(key, value)
    if found ~= nil then return found end
  end
end

function table.foreachi(list, visit)
  for position = 1, #list do
    local found = visit(position, list[position])
    if found ~= nil then return found end
  end
end

-- A script that forgets `local` is told so.
setmetatable(_G, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function() error("Attempt to modify a readonly table", 2) end,
})
