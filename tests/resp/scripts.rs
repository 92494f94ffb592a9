//! Scripts: what they can do, what they cannot, and that they are carried out as one.

use super::client::Client;
use super::replies::told;
use super::server::Server;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub fn eval(client: &mut Client, script: &str, rest: &[&str]) -> String {
    let mut words: Vec<&[u8]> = vec![b"EVAL", script.as_bytes()];
    words.extend(rest.iter().map(|word| word.as_bytes()));
    client.ask_words(&words)
}

const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
const COUNT: &str = "local n = redis.call('INCR', KEYS[1]) \
    if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end return {n, redis.call('PTTL', KEYS[1])}";

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_known_clients() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        client.ask("SET lock me PX 100000");
        assert_eq!(eval(&mut client, RELEASE, &["1", "lock", "other"]), ":0");
        assert_eq!(eval(&mut client, RELEASE, &["1", "lock", "me"]), ":1");
        assert_eq!(eval(&mut client, COUNT, &["1", "rate", "100000"]), "[:1 :100000]");
        assert!(eval(&mut client, COUNT, &["1", "rate", "100000"]).starts_with("[:2 :"));
        let name = client.ask_words(&[b"SCRIPT", b"LOAD", COUNT.as_bytes()]);
        let name = name.trim_matches('"').to_owned();
        assert!(client.ask(&format!("EVALSHA {name} 1 rate 5")).starts_with("[:3 :"));
        let known = client.ask("INFO memory");
        assert!(known.contains("number_of_cached_scripts:2\\r"), "{known}");
        told(
            &mut client,
            &[
                (&format!("SCRIPT EXISTS {name} 00"), "[:1 :0]"),
                ("SCRIPT FLUSH", "+OK"),
                (&format!("EVALSHA {name} 1 rate 5"), "-NOSCRIPT No matching script. Please use EVAL."),
            ],
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_become_replies_and_errors_are_told() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        for (script, expected) in [
            ("return 1", ":1"),
            ("return 3.99", ":3"),
            ("return 'text'", "\"text\""),
            ("return true", ":1"),
            ("return false", "nil"),
            ("return {1, 'a', {2}, nil, 3}", "[:1 \"a\" [:2]]"),
            ("return redis.status_reply('FINE')", "+FINE"),
            ("return redis.error_reply('MINE no')", "-MINE no"),
            ("return redis.error_reply(1)", "-ERR wrong number or type of arguments"),
            ("return redis.status_reply()", "-ERR wrong number or type of arguments"),
            ("return redis.sha1hex('')", "\"da39a3ee5e6b4b0d3255bfef95601890afd80709\""),
            ("return redis.call('GET', 'nothing')", "nil"),
            ("return redis.call('SET', 'a', 5)", "+OK"),
            ("return redis.call('GET', 'a') + 1", ":6"),
            ("return #redis.call('KEYS', '*')", ":1"),
            (
                "return redis.pcall('INCR', 'a', 'b')['err']",
                "\"ERR Wrong number of args calling Redis command from script\"",
            ),
            ("return type(redis.call('TIME')[1])", "\"string\""),
            ("return redis.call('RENAME', 'a', 'b')", "+OK"),
            ("redis.call('SET', 'n', 1)", "nil"),
            ("redis.call('SET', 'n', 9007199254740991) return redis.call('GET', 'n')", "\"9007199254740991\""),
            ("local fine, error = pcall(redis.call, 'INCR', 'b', 'c') return error.err", "\"ERR Wrong number of args calling Redis command from script\""),
            ("local fine, error = pcall(function() return nothing end) return 'x' .. error", "\"xuser_script:1: Script attempted to access nonexistent global variable \\'nothing\\'\""),
            ("return cjson.encode({1, 'a', {b = true}, cjson.null})", "\"[1,\\\"a\\\",{\\\"b\\\":true},null]\""),
            ("return cjson.decode('{\"a\": [1, 2]}').a[2]", ":2"),
            ("return {bit.band(12, 10), bit.bnot(0), bit.lshift(1, 31), bit.tohex(255, 4)}", "[:8 :-1 :-2147483648 \"00ff\"]"),
            ("return loadstring('return 4')()", ":4"),
            ("#!lua flags=no-writes\nreturn redis.pcall('SET', 'a', 1).err", "\"ERR Write commands are not allowed from read-only scripts.\""),
            ("redis.call('SELECT', 5) redis.call('SET', 'five', 5) return redis.call('GET', 'five')", "\"5\""),
            ("return redis.call('GET', 'five')", "nil"),
            ("#!lua flags=allow-oom\nreturn 7", ":7"),
            ("#!lua\nreturn 8", ":8"),
        ] {
            assert_eq!(eval(&mut client, script, &["0"]), expected, "{script}");
        }
        // A script that fails changes nothing, and one that catches the failure does.
        let failing = "redis.call('SET', 'c', 'x') return redis.call('INCR', 'c')";
        let told = eval(&mut client, failing, &["0"]);
        assert!(told.starts_with("-ERR value is not an integer or out of range"), "{told}");
        assert_eq!(client.ask("EXISTS c"), ":0");
        let catching = "redis.call('SET', 'c', 'x') redis.pcall('INCR', 'c') return redis.call('GET', 'c')";
        assert_eq!(eval(&mut client, catching, &["0"]), "\"x\"");
        assert_eq!(client.ask("GET c"), "\"x\"");
        let read_only = client.ask_words(&[b"EVAL_RO", b"return redis.call('SET', 'c', 'y')", b"0"]);
        assert!(
            read_only.starts_with("-ERR Write commands are not allowed from read-only scripts."),
            "{read_only}"
        );
        for (script, part) in [
            ("return os.time()", "attempt to call field 'time' (a nil value)"),
            ("x = 1", "readonly table"),
            ("1 + 1", "Error compiling script"),
            ("local x = nothing", "-ERR user_script:1: Script attempted to access nonexistent global variable 'nothing' script: "),
            ("\nreturn redis.call('INCR', 'a', 'b')", ", on @user_script:2."),
            ("return loadstring('\\27LuaQ')()", "attempt to call a nil value"),
            ("return redis.call('EVAL', 'return 1', 0)", "not allowed from script"),
            ("return redis.call('NOSUCH')", "Unknown Redis command"),
            ("retur 1", "Error compiling script"),
            ("#!not-lua\nreturn 1", "-ERR Unexpected engine in script shebang: not-lua"),
            ("#!lua badger=data\nreturn 1", "-ERR Unknown lua shebang option: badger=data"),
            ("#!lua flags=allow-stale,what?\nreturn 1", "-ERR Unexpected flag in script shebang: what?"),
            ("#!lua", "-ERR Invalid script shebang"),
        ] {
            let told = eval(&mut client, script, &["0"]);
            assert!(told.starts_with("-ERR ") && told.contains(part), "{script}: {told}");
        }
        told_keys(&mut client);
    })
    .await;
}

fn told_keys(client: &mut Client) {
    told(
        client,
        &[
            ("EVAL x -1", "-ERR Number of keys can't be negative"),
            ("EVAL x 1", "-ERR Number of keys can't be greater than number of args"),
            ("EVAL x a", "-ERR value is not an integer or out of range"),
        ],
    );
}

/// Scripts end, whatever they do.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_have_bounds() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        for script in [
            "while true do end",
            "while true do pcall(function() while true do end end) end",
            "return coroutine.wrap(function() while true do end end)()",
            "local t = {} while true do t[#t + 1] = string.rep('x', 1000000) end",
            "return string.rep('x', 1000000000)",
            "local function f() return f() + 1 end return f()",
            "local function f() return (string.gsub('x', 'x', f)) end return f()",
            "local t = {} for i = 1, 100 do t = {t} end return t",
            "for i = 1, 100000 do redis.call('GET', 'k' .. i) end",
            // Searches that go back and forth, or nest.
            "return string.find(string.rep('a', 100000), string.rep('a*', 30) .. 'b')",
            "return string.find(string.rep('a', 8000000), '.-b')",
            "return string.match(string.rep('(', 8000000), '%b()')",
            "return string.match(string.rep('a', 8000000), '^(a*)(a*)%1%2b')",
            "return string.find('', string.rep('a*', 1000000))",
            "return string.gsub(string.rep('a', 1000000), '', string.rep('%1', 1000000))",
            "for a in string.gmatch(string.rep('a', 8000000), '.-b') do end",
            "return string.gfind(string.rep('a', 8000000), '.-b')()",
            // Few instructions that take long.
            "local s = string.rep('x', 8000000) while true do local t = s .. 'y' end",
            "local s = string.rep('x', 8000000) while true do s:reverse() end",
            "local s = string.rep('x', 20000000) while true do redis.sha1hex(s) end",
            "local s = string.rep('a=1 ', 60000) while true do loadstring(s) end",
            "local s = 'if a then ' .. string.rep('elseif a then ', 18000) .. 'end' while true do loadstring(s) end",
            "local s = '[' .. string.rep('1,', 1000000) .. '1]' while true do cjson.decode(s) end",
            "table.insert({}, -2147483648, 1)",
            "table.insert({}, 1e10, 1)",
            "table.insert({}, 0 / 0, 1)",
            "local s, t = string.rep('x', 20000000), {} for i = 1, 100000 do t[i] = s end table.sort(t)",
            "local s, t = string.rep('x', 9000000), {} for i = 1, 100000 do t[i] = s end table.sort(t, string.reverse)",
        ] {
            let begun = Instant::now();
            let told = eval(&mut client, script, &["0"]);
            assert!(told.starts_with("-ERR ") || told.starts_with("-UNAVAILABLE nothing was done"), "{script}: {told}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{script}: {:?}", begun.elapsed());
            println!("{:>5} ms: {script}", begun.elapsed().as_millis());
        }
        for (script, reply) in [
            ("return string.rep('', 2147483647)", "\"\""),
            (
                "local _, why = loadstring(string.rep(' ', 262145)) return why",
                "\"runtime error: a script has at most 256 KiB\"",
            ),
            ("return string.find(string.rep('a', 8000000), string.rep('a', 4000000) .. 'b', 1, true)", "nil"),
            ("return select(2, string.gsub(string.rep('a-b,', 100000), '(%w)-(%w)', ''))", ":100000"),
            ("local t = {1} table.insert(t, 2) table.insert(t, '1', 3) table.insert(t, 5, 4) return t", "[:3 :1 :2]"),
            ("local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return t", "[:3 :2 :1]"),
            ("local t = {'b', 'a'} table.sort(t) return t", "[\"a\" \"b\"]"),
            ("return table.foreach({5, 6}, function(key, value) if value == 6 then return key end end)", ":2"),
            ("return table.foreachi({5, 6}, function(key, value) if value == 5 then return key end end)", ":1"),
        ] {
            assert_eq!(eval(&mut client, script, &["0"]), reply, "{script}");
        }
        assert_eq!(client.ask("PING"), "+PONG");
    })
    .await;
}

/// Whatever others do meanwhile, a script's reads and writes are of one moment.
#[tokio::test(flavor = "multi_thread")]
async fn many_scripts_on_one_key_lose_nothing() {
    const CLIENTS: usize = 8;
    const EACH: usize = 100;
    Server::run(|address: SocketAddr| {
        let script = "local n = tonumber(redis.call('GET', KEYS[1]) or '0') + 1 redis.call('SET', KEYS[1], n) \
                      redis.call('APPEND', KEYS[2], '.') return n";
        let add = move || {
            let mut client = Client::connect(address);
            let mut once = || loop {
                let told = eval(&mut client, script, &["2", "n", "log"]);
                // Others were always quicker. It says that nothing was done, so it can be sent again.
                if !told.starts_with("-UNAVAILABLE nothing was done") {
                    return told;
                }
            };
            (0..EACH).map(|_| once()).collect::<Vec<String>>()
        };
        let adding: Vec<_> = (0..CLIENTS).map(|_| std::thread::spawn(add)).collect();
        let mut all: Vec<i64> = Vec::new();
        let mut other = Client::connect(address);
        for _ in 0..EACH {
            // Not by a script, so without a turn.
            all.push(other.ask("INCR n")[1..].parse().unwrap());
        }
        for adding in adding {
            all.extend(adding.join().unwrap().iter().map(|told| told[1..].parse::<i64>().unwrap_or_else(|_| panic!("{told}"))));
        }
        all.sort_unstable();
        assert_eq!(all, (1..=(CLIENTS * EACH + EACH) as i64).collect::<Vec<_>>());
        assert_eq!(other.ask("STRLEN log"), format!(":{}", CLIENTS * EACH));
    })
    .await;
}

/// Scripts that wait for the same key are carried out together, and each is told its own.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_carried_out_together_succeed_or_fail_by_themselves() {
    const CLIENTS: usize = 32;
    const EACH: usize = 30;
    Server::run(|address: SocketAddr| {
        let work = move |number: usize| {
            let mut client = Client::connect(address);
            let own = format!("own-{number}");
            let mut added = Vec::new();
            for _ in 0..EACH {
                match number % 4 {
                    0 => {
                        // It writes, and fails.
                        let failing = "redis.call('INCR', KEYS[1]) redis.call('SET', ARGV[1], 'x') return redis.call('INCR', ARGV[1])";
                        let told = eval(&mut client, failing, &["1", "n", &own]);
                        assert!(told.starts_with("-ERR value is not an integer or out of range script: "), "{told}");
                    }
                    1 => {
                        let told = eval(&mut client, "return {redis.call('GET', KEYS[1]), ARGV[1]}", &["1", "n", &own]);
                        assert!(told.ends_with(&format!("\"{own}\"]")), "{told}");
                    }
                    2 => {
                        // Each needs a key that it has not declared.
                        let told = eval(&mut client, "redis.call('INCR', KEYS[1]) return redis.call('INCR', ARGV[1])", &["1", "n", &own]);
                        added.push(told);
                    }
                    _ => {
                        let told = eval(&mut client, "return {redis.call('INCR', KEYS[1]), ARGV[1]}", &["1", "n", &own]);
                        assert!(told.starts_with("[:") && told.ends_with(&format!("\"{own}\"]")), "{told}");
                    }
                }
            }
            if number % 4 == 2 {
                assert_eq!(added, (1..=EACH).map(|count| format!(":{count}")).collect::<Vec<_>>());
            }
        };
        let all: Vec<_> = (0..CLIENTS).map(|number| std::thread::spawn(move || work(number))).collect();
        all.into_iter().for_each(|working| working.join().unwrap());
        let mut client = Client::connect(address);
        assert_eq!(client.ask("GET n"), format!("\"{}\"", CLIENTS / 2 * EACH));
        assert_eq!(client.ask("DBSIZE"), format!(":{}", 1 + CLIENTS / 4));
    })
    .await;
}

/// A table that is referred to twice at each of many levels is small in Lua, and would be huge when it is written out.
#[tokio::test(flavor = "multi_thread")]
async fn what_scripts_make_is_bounded() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        client.ask("SET k v");
        let many = "local t={1} for i=1,60 do t={t,t} end ";
        let long = "local s=string.rep('x',1000000) local t={} for i=1,1000 do t[i]=s end ";
        for (script, says) in [
            (format!("{many} return t"), "too large"),
            (format!("{many} return cjson.encode(t)"), "too large"),
            (format!("{long} return t"), "too large"),
            (format!("{long} return cjson.encode(t)"), "too large"),
            (format!("{long} return redis.call('MSET',unpack(t))"), "too large"),
            (format!("{long} return cjson.decode('['..table.concat(t,',',1,9)..']')"), "too large"),
            (format!("{long} for i=1,100000 do redis.call('SET',KEYS[1],s) end return 1"), "too large"),
        ] {
            let begun = std::time::Instant::now();
            let told = client.ask_words(&[b"EVAL", script.as_bytes(), b"1", b"k"]);
            assert!(
                told.starts_with('-') && told.contains(says),
                "{script}: {}",
                &told[..told.len().min(200)]
            );
            assert!(begun.elapsed().as_secs() < 20, "{script}: {:?}", begun.elapsed());
        }
        assert_eq!(client.ask("GET k"), "\"v\"", "none of them has changed anything");
    })
    .await;
}

/// More than Lua's stack has room for.
#[tokio::test(flavor = "multi_thread")]
async fn tables_have_thousands_of_values() {
    const COUNT: usize = 10_000;
    // Each has the time of a script.
    const ALL: [(&str, &str); 2] = [
        (
            "local set = {} for at, key in ipairs(KEYS) do set[at] = at end return {#KEYS, #ARGV, #set}",
            "[:10000 :10000 :10000]",
        ),
        (
            "local set = {} for at, key in ipairs(ARGV) do set[at] = at end return #cjson.decode(cjson.encode(set))",
            ":10000",
        ),
    ];
    const LISTED: &str = "return {#redis.call('KEYS', 'k*'), #redis.call('MGET', KEYS[1], 'b')}";
    Server::run(|address| {
        let mut client = Client::connect(address);
        let keys: Vec<String> = (0..COUNT).map(|number| format!("k{number}")).collect();
        for part in keys.chunks(COUNT / 2) {
            assert_eq!(client.ask(&format!("MSET {} 1", part.join(" 1 "))), "+OK");
        }
        let count = COUNT.to_string();
        let mut rest = vec![count.as_str()];
        rest.extend(keys.iter().chain(&keys).map(String::as_str));
        for (script, told) in ALL {
            assert_eq!(eval(&mut client, script, &rest), told, "{script}");
        }
        assert_eq!(eval(&mut client, LISTED, &["1", "k0"]), "[:10000 :2]");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_know_the_release_and_replication() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        for (script, expected) in [
            ("return redis.REDIS_VERSION_NUM >= 0x00070000 and redis.REDIS_VERSION", "\"7.4.0\""),
            (
                "redis.set_repl(redis.REPL_ALL) return redis.REPL_NONE + redis.REPL_AOF + redis.REPL_REPLICA",
                ":3",
            ),
        ] {
            assert_eq!(eval(&mut client, script, &["0"]), expected, "{script}");
        }
        // What a script changes, no other sees.
        assert_eq!(eval(&mut client, "string.rep = nil redis.call = nil return 1", &["0"]), ":1");
        assert_eq!(eval(&mut client, "return ('a'):rep(3) .. redis.call('ping').ok", &["0"]), "\"aaaPONG\"");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_settings() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        for (script, expected) in [
            ("cjson.encode_max_depth(1) return tostring(pcall(cjson.encode, {{1}}))", "\"false\""),
            ("cjson.encode_max_depth(1) return cjson.encode({1})", "\"[1]\""),
            ("cjson.decode_max_depth(1) return tostring(pcall(cjson.decode, '[[1]]'))", "\"false\""),
            ("cjson.decode_max_depth(1) return cjson.decode('[1]')[1]", ":1"),
            // No script can ask for more than there is.
            ("return cjson.decode_max_depth(1000)", ":128"),
            ("return tostring(pcall(cjson.encode, {0/0}))", "\"false\""),
            ("cjson.encode_invalid_numbers(true) return cjson.encode({0/0, 1})", "\"[null,1]\""),
            ("return tostring(pcall(cjson.encode, {[100000] = 1}))", "\"false\""),
            ("cjson.encode_sparse_array(true) return cjson.encode({[100000] = 1})", "\"{\\\"100000\\\":1}\""),
            ("cjson.encode_keep_buffer(false) return 1", ":1"),
        ] {
            assert_eq!(eval(&mut client, script, &["0"]), expected, "{script}");
        }
        // They hold for one script.
        assert_eq!(eval(&mut client, "return cjson.encode_max_depth()", &["0"]), ":128");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_packed_as_messagepack() {
    const HEX: &str = "local function hex(text) \
        return (text:gsub('.', function(c) return ('%02x'):format(c:byte()) end)) end ";
    Server::run(|address| {
        let mut client = Client::connect(address);
        for (value, bytes) in [
            ("nil", "c0"),
            ("true", "c3"),
            ("false", "c2"),
            ("0", "00"),
            ("127", "7f"),
            ("128", "cc80"),
            ("256", "cd0100"),
            ("65536", "ce00010000"),
            ("4294967296", "cf0000000100000000"),
            ("-1", "ff"),
            ("-32", "e0"),
            ("-33", "d0df"),
            ("-129", "d1ff7f"),
            ("-32769", "d2ffff7fff"),
            ("-1099511627776", "d3ffffff0000000000"),
            ("0.5", "ca3f000000"),
            ("0.1", "cb3fb999999999999a"),
            ("'a'", "a161"),
            ("{}", "90"),
            ("{1, 'a'}", "9201a161"),
            ("{a = 1}", "81a16101"),
            ("{[2] = 1}", "810201"),
            ("1, {2}, 'x'", "019102a178"),
        ] {
            let packed = eval(&mut client, &format!("{HEX} return hex(cmsgpack.pack({value}))"), &["0"]);
            assert_eq!(packed, format!("\"{bytes}\""), "{value}");
            let again = format!("{HEX} return hex(cmsgpack.pack(cmsgpack.unpack(cmsgpack.pack({value}))))");
            assert_eq!(eval(&mut client, &again, &["0"]), packed, "{value}");
        }
        for (kind, sizes) in
            [("text", vec![31, 32, 255, 256, 65_535, 65_536]), ("list", vec![15, 16, 65_536]), ("map", vec![15, 16, 300])]
        {
            for size in sizes {
                let script = format!(
                    "local made = {{text = function(n) return ('x'):rep(n) end, \
                     list = function(n) local t = {{}} for i = 1, n do t[i] = i end return t end, \
                     map = function(n) local t = {{}} for i = 1, n do t['k' .. i] = i end return t end}} \
                     local value = made.{kind}({size}) local again = cmsgpack.unpack(cmsgpack.pack(value)) \
                     if '{kind}' == 'text' then return value == again and #again end \
                     local n = 0 for name, item in pairs(again) do if value[name] == item then n = n + 1 end end return n"
                );
                assert_eq!(eval(&mut client, &script, &["0"]), format!(":{size}"), "{kind} {size}");
            }
        }
        for (script, expected) in [
            ("return {cmsgpack.unpack_one('\\1\\2')}", "[:1 :1]"),
            ("return {cmsgpack.unpack_one('\\1\\2', 1)}", "[:-1 :2]"),
            ("return {cmsgpack.unpack_limit('\\1\\2\\3', 2)}", "[:2 :1 :2]"),
            ("return {cmsgpack.unpack_limit('\\1\\2\\3', 0)}", "[:1 :2 :3]"),
            ("return {cmsgpack.unpack_limit('\\1\\2\\3', 2, 2)}", "[:-1 :3]"),
            ("local a = {} a.a = a local n, t = 0, cmsgpack.unpack(cmsgpack.pack(a)) while t do n, t = n + 1, t.a end return n", ":16"),
        ] {
            assert_eq!(eval(&mut client, script, &["0"]), expected, "{script}");
        }
        // Whatever it is given, it ends.
        for script in [
            "return cmsgpack.pack()",
            "return cmsgpack.unpack('\\217')",
            "return cmsgpack.unpack('\\193')",
            "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
            "return cmsgpack.unpack('\\129\\192\\1')",
            "return cmsgpack.unpack(('\\145'):rep(100000))",
            "return cmsgpack.unpack(('\\1'):rep(100000))",
            "return cmsgpack.unpack_one('\\1', 2)",
            "return cmsgpack.unpack_one('\\1', -1)",
            "local t = {} for i = 1, 15 do t = {t, t, t, t} end return #cmsgpack.pack(t)",
        ] {
            let told = eval(&mut client, script, &["0"]);
            assert!(told.starts_with("-ERR "), "{script}: {told}");
        }
    })
    .await;
}

/// A script has processor time, not time that passes: a busy machine takes nothing from it.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_beside_each_other_have_their_time() {
    const SCRIPTS: u32 = 8;
    const EACH: Duration = Duration::from_millis(250);
    const SCRIPT: &str = "while os.clock() < 0.25 do end return redis.call('INCR', KEYS[1])";
    Server::run(|address| {
        let begun = Instant::now();
        let carry_out = move |number| {
            let key = format!("k{number}");
            eval(&mut Client::connect(address), SCRIPT, &["1", &key])
        };
        let all: Vec<_> = (0..SCRIPTS).map(|number| std::thread::spawn(move || carry_out(number))).collect();
        for script in all {
            assert_eq!(script.join().unwrap(), ":1");
        }
        // It is rounded down.
        let processors = 1 + std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        assert!(begun.elapsed() >= EACH * SCRIPTS / processors.min(SCRIPTS), "{:?}", begun.elapsed());
    })
    .await;
}
