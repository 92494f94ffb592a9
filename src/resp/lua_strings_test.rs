//! Searches by pattern against those of Lua itself, on all that is short enough for them.

use super::set_searches;
use mlua::{Error, Function, IntoLuaMulti, Lua, MultiValue, StdLib, Table, Value};
use proptest::prelude::*;

/// Lua with its own functions, and a table with ours.
fn both() -> (Lua, [Table; 2]) {
    let lua = Lua::new_with(StdLib::STRING, mlua::LuaOptions::default()).unwrap();
    let ours = lua.create_table().unwrap();
    set_searches(&lua, &ours).unwrap();
    let theirs = lua.globals().get("string").unwrap();
    (lua, [ours, theirs])
}

/// What a function returns, or why it fails.
fn told(table: &Table, name: &str, arguments: impl IntoLuaMulti) -> Result<Vec<String>, String> {
    let function: Function = table.get(name).unwrap();
    let values = function.call::<MultiValue>(arguments).map_err(|error| reason(&error))?;
    Ok(values.iter().map(text).collect())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.as_bytes().escape_ascii().to_string()),
        other => other.to_string().unwrap(),
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } => reason(cause),
        error => {
            let text = error.to_string();
            let text = text.strip_prefix("runtime error: ").unwrap_or(&text);
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}

/// All that an iterator over matches tells.
fn each(table: &Table, text: &[u8], pattern: &[u8], lua: &Lua) -> Result<Vec<String>, String> {
    let words = (lua.create_string(text).unwrap(), lua.create_string(pattern).unwrap());
    let gmatch: Function = table.get("gmatch").unwrap();
    let next = gmatch.call::<Function>(words).map_err(|error| reason(&error))?;
    let mut all = Vec::new();
    loop {
        let values = next.call::<MultiValue>(()).map_err(|error| reason(&error))?;
        if values.front().is_none_or(Value::is_nil) {
            return Ok(all);
        }
        all.extend(values.iter().map(self::text));
    }
}

/// Patterns of what means something, most of them well formed.
fn patterns() -> impl Strategy<Value = Vec<u8>> {
    let item = "(a|b|-|\\]|\\.|%a|%A|%d|%s|%w|%x|%z|%p|%\\.|%%|%bab|%f\\[a\\]|%f\\[\\^%w\\]|%1|%2|\\[ab\\]|\\[\\^a\\]|\\[a-b1\\]|\\[%d%-\\]|\\[\\]a\\]|\\[a-\\]|\\(|\\)|\\(\\)|\\$|\\^|%|\\[)";
    let built = format!("\\^?({item}[*+?-]?){{0,5}}\\$?");
    prop_oneof![
        4 => proptest::string::bytes_regex(&built).unwrap(),
        1 => proptest::collection::vec(proptest::sample::select(&b"ab%.[]^$()*+-?1f\0"[..]), 0..8),
    ]
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(&b"aaabbb1 .-%]\0\xff"[..]), 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn searches_are_those_of_lua(
        text in texts(),
        pattern in patterns(),
        start in proptest::option::of(-4_i32..12),
        template in proptest::string::bytes_regex("(x|%0|%1|%2|%%|%x|%){0,3}").unwrap(),
        max in proptest::option::of(-1_i32..4),
    ) {
        let (lua, [ours, theirs]) = both();
        let string = |bytes: &[u8]| lua.create_string(bytes).unwrap();
        for name in ["find", "match"] {
            let of = |table| told(table, name, (string(&text), string(&pattern), start));
            prop_assert_eq!(of(&ours), of(&theirs), "{}", name);
        }
        let plain = |table| told(table, "find", (string(&text), string(&pattern), start, true));
        prop_assert_eq!(plain(&ours), plain(&theirs));
        let all = |table| each(table, &text, &pattern, &lua);
        prop_assert_eq!(all(&ours), all(&theirs));
        let replaced = |table| told(table, "gsub", (string(&text), string(&pattern), string(&template), max));
        prop_assert_eq!(replaced(&ours), replaced(&theirs));
        let upper: Function = lua.globals().get::<Table>("string").unwrap().get("len").unwrap();
        let replaced = |table| told(table, "gsub", (string(&text), string(&pattern), upper.clone()));
        prop_assert_eq!(replaced(&ours), replaced(&theirs));
        let names = lua.create_table().unwrap();
        names.set("a", "A").unwrap();
        names.set("b", false).unwrap();
        names.set(1, 7).unwrap();
        let replaced = |table| told(table, "gsub", (string(&text), string(&pattern), names.clone()));
        prop_assert_eq!(replaced(&ours), replaced(&theirs));
    }
}

#[test]
fn what_they_are_given_is_checked_as_in_lua() {
    let (lua, [ours, theirs]) = both();
    let table = || Value::Table(lua.create_table().unwrap());
    let cases: [(&str, Vec<Value>); 8] = [
        ("find", vec![]),
        ("find", vec![Value::Integer(1_234), Value::Number(2.0)]),
        ("match", vec![Value::Boolean(true), Value::Integer(1)]),
        ("match", vec![Value::Integer(12), Value::Integer(1), table()]),
        ("gsub", vec![Value::Integer(12), Value::Integer(1)]),
        ("gsub", vec![Value::Integer(12), Value::Integer(1), Value::Boolean(true)]),
        ("gsub", vec![Value::Integer(12), Value::Integer(1), Value::Number(1.5)]),
        ("gmatch", vec![Value::Nil, Value::Nil]),
    ];
    for (name, words) in cases {
        let of = |table| told(table, name, MultiValue::from_iter(words.clone()));
        let without_name =
            |told: Result<Vec<String>, String>| told.map_err(|why| why.replace("'?'", &format!("'{name}'")));
        assert_eq!(without_name(of(&ours)), without_name(of(&theirs)), "{name} {words:?}");
    }
    let pattern = "a?".repeat(250);
    assert_eq!(told(&ours, "find", ("a".repeat(250), pattern.as_str())), Err("pattern too complex".into()));
}
