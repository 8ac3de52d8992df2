"""Scripts that read the value of a key, and compare it with a value that was read on another node.

The replies of DUMP of two nodes differ for the same set, hash or sorted set, because the order of the elements depends
on the node. Times to live are not part of a value.
"""

READ_VALUE = """
local reading = {string = {'GET'}, list = {'LRANGE', 0, -1}, set = {'SMEMBERS'}, hash = {'HGETALL'},
                 zset = {'ZRANGE', 0, -1, 'WITHSCORES'}}
local function read_value(key)
  local kind = redis.pcall('TYPE', key).ok
  if not kind or kind == 'none' then return nil end
  local words = reading[kind] or {'DUMP'}
  local value = redis.call(words[1], key, unpack(words, 2))
  if type(value) == 'string' then value = {value} end
  table.insert(value, 1, kind)
  return value
end
"""
"""Defines `read_value`: the name of the type and the elements, nil if the node does not serve the key."""

READ = READ_VALUE + "return read_value(KEYS[1])"
"""Returns the value of a key as `read_value` does."""

DELETE_IF_SAME = (
    READ_VALUE
    + """
local function is_same(value)
  if not value or value[1] ~= ARGV[1] or #value ~= #ARGV then return false end
  local kind = value[1]
  if not reading[kind] or kind == 'string' or kind == 'list' then
    for at = 2, #value do
      if value[at] ~= ARGV[at] then return false end
    end
    return true
  end
  local last = kind == 'set' and 0 or 1
  local elements = {}
  for at = 2, #value, last + 1 do elements[value[at]] = value[at + last] end
  for at = 2, #ARGV, last + 1 do
    if elements[ARGV[at]] ~= ARGV[at + last] then return false end
  end
  return true
end
if is_same(read_value(KEYS[1])) then return redis.call('DEL', KEYS[1]) end
return 0
"""
)
"""Deletes a key if its value is the one in ARGV, as `read_value` returned it. Returns the number of deleted keys."""
