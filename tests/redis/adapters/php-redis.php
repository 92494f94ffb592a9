<?php
// php-redis: as rounds.py tells.

const END_S = 60;
$nodes = explode(',', $argv[1]);
$stores = array_fill(0, count($nodes), null);
stream_set_blocking(STDIN, false);

function say(...$words) { echo preg_replace('/\s+/', ' ', implode(' ', $words)), "\n"; flush(); }

class Wrong extends Exception {}
function check($holds, $what) { if (!$holds) throw new Wrong($what); }

function store($node) {
    global $nodes, $stores;
    if ($stores[$node] === null) {
        [$host, $port] = explode(':', $nodes[$node]);
        $redis = new Redis();
        $redis->connect($host, (int) $port, 2.0, null, 0, 10.0);
        $stores[$node] = $redis;
    }
    return $stores[$node];
}

// What a command answers; php-redis returns false for an error reply and keeps its text.
function answer($redis, $work) {
    $redis->clearLastError();
    $result = $work($redis);
    if ($redis->getLastError() !== null) throw new RuntimeException($redis->getLastError());
    return $result;
}

function attempt($node, $work) {
    global $stores;
    try {
        return [true, answer(store($node), $work)];
    } catch (Wrong $wrong) {
        say('wrong', 'php-redis', $wrong->getMessage());
    } catch (Exception $error) {
        say('error', $node, get_class($error), $error->getMessage());
        if ($error instanceof RedisException) $stores[$node] = null;
    }
    return [false, null];
}

$acknowledged = [];
$counted = 0;
for ($number = 0; !(fgets(STDIN) === false && feof(STDIN)); $number++) {
    [$here, $there] = [$number % count($nodes), ($number + 1) % count($nodes)];
    [$key, $value] = ["php-redis:$number", "value $number"];
    [$written] = attempt($here, fn($redis) => $redis->setex($key, 3600, $value));
    if ($written) {
        $acknowledged[$number] = $value;
        [$read, $got] = attempt($there, fn($redis) => $redis->get($key));
        if ($read && $got !== $value) say('wrong', "$key was written at node $here, and node $there answers", var_export($got, true));
    }
    [$done, $total] = attempt($here, fn($redis) => $redis->incr('php-redis:total'));
    if ($done && $total < ++$counted) say('wrong', "$counted additions were acknowledged, and the sum is $total");
    attempt($here, function ($redis) use ($number) {
        $key = "php-redis:more:$number";
        // With an error reply in it, a transaction's answer has false there.
        $changed = $redis->multi()->set($key, '1')->incrBy($key, 41)->get($key)->exec();
        if ($redis->getLastError() !== null) return null;
        check($changed === [true, 42, '42'], 'a transaction answers ' . json_encode($changed));
        $got = $redis->mGet([$key, "$key:none"]);
        if ($redis->getLastError() !== null) return null;
        check($got === ['42', false], 'mGet answers ' . json_encode($got));
        return $redis->del($key);
    });
    say('round', $number);
}
$end = time() + END_S;
foreach ($acknowledged as $at => $value) {
    do {
        [$read, $got] = attempt($at % count($nodes), fn($redis) => $redis->get("php-redis:$at"));
    } while (!$read && time() < $end);
    if ($got !== $value) say('wrong', "php-redis:$at was acknowledged, and is", var_export($got, true), 'at the end');
}
say('done', $number, count($acknowledged));
