# ruby-redis: as rounds.py tells.

require 'redis'

END_S = 60
NODES = ARGV[0].split(',')
STORES = NODES.map { |address| Redis.new(url: "redis://#{address}", connect_timeout: 2, read_timeout: 10) }
ENDED = Queue.new
Thread.new { $stdin.read; ENDED << true }
$stdout.sync = true

class Wrong < StandardError; end

def say(*words) = puts(words.join(' ').gsub(/\s+/, ' '))

def check(holds, what) = holds || raise(Wrong, what)

def attempt(node)
  [true, yield(STORES[node])]
rescue Wrong => e
  say('wrong', 'ruby-redis', e.message)
  [false, nil]
rescue StandardError => e
  say('error', node, e.class, e.message)
  [false, nil]
end

def more(redis, number)
  key = "ruby-redis:more:#{number}"
  changed = redis.multi { |transaction| transaction.set(key, '1'); transaction.incrby(key, 41); transaction.get(key) }
  check(changed == ['OK', 42, '42'], "a transaction answers #{changed}")
  piped = redis.pipelined { |pipeline| pipeline.append(key, '!'); pipeline.mget(key, "#{key}:none") }
  check(piped == [3, ['42!', nil]], "a pipeline answers #{piped}")
  check(redis.scan_each(match: key, count: 1000).to_a == [key], 'a scan finds the key')
  check(redis.del(key) == 1, 'a key is deleted')
end

acknowledged = {}
counted = 0
number = 0
while ENDED.empty?
  here, there = number % NODES.size, (number + 1) % NODES.size
  key, value = "ruby-redis:#{number}", "value #{number}"
  written, = attempt(here) { |redis| redis.set(key, value, ex: 3600) }
  if written
    acknowledged[number] = value
    read, got = attempt(there) { |redis| redis.get(key) }
    say('wrong', "#{key} was written at node #{here}, and node #{there} answers #{got.inspect}") if read && got != value
  end
  done, total = attempt(here) { |redis| redis.incr('ruby-redis:total') }
  counted += 1 if done
  say('wrong', "#{counted} additions were acknowledged, and the sum is #{total}") if done && total < counted
  attempt(here) { |redis| more(redis, number) }
  say('round', number)
  number += 1
end
finish = Process.clock_gettime(Process::CLOCK_MONOTONIC) + END_S
acknowledged.each do |at, value|
  read, got = attempt(at % NODES.size) { |redis| redis.get("ruby-redis:#{at}") }
  until read || Process.clock_gettime(Process::CLOCK_MONOTONIC) > finish
    read, got = attempt(at % NODES.size) { |redis| redis.get("ruby-redis:#{at}") }
  end
  say('wrong', "ruby-redis:#{at} was acknowledged, and is #{got.inspect} at the end") if got != value
end
say('done', number, acknowledged.size)
