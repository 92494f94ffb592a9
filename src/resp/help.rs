//! `HELP` of commands that have subcommands.

use super::reply::Reply;
use bytes::Bytes;

/// The subcommands of each, with what they do.
const ALL: &[(&str, &[(&str, &str)])] = &[
    ("acl", &[("WHOAMI", "The user of this connection.")]),
    (
        "client",
        &[
            ("CACHING YES | NO", "Whether what the next command reads is tracked (with OPTIN or OPTOUT)."),
            ("GETNAME", "The name of this connection."),
            ("GETREDIR", "The connection that is told in the place of this one."),
            ("ID", "The number of this connection."),
            ("INFO", "What is known of this connection."),
            ("KILL address | [ID id] [ADDR address] [SKIPME YES | NO]", "Has connections end. For admins."),
            ("LIST [ID id ...] [TYPE type]", "All connections to this node. Others are shown to admins."),
            (
                "MAINT_NOTIFICATIONS ON [moving-endpoint-type type] | OFF",
                "Whether the client is told when this node is about to stop.",
            ),
            ("NO-EVICT ON | OFF", "Is accepted, and does nothing."),
            ("NO-TOUCH ON | OFF", "Whether reads count as uses."),
            ("REPLY ON | OFF | SKIP", "Which commands are answered."),
            ("SETINFO LIB-NAME | LIB-VER text", "What the client says of its library."),
            ("SETNAME name", "Names this connection."),
            (
                "TRACKING ON | OFF [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
                "Whether the client is told when what it reads changes.",
            ),
            ("TRACKINGINFO", "How this connection is tracked."),
        ],
    ),
    (
        "command",
        &[
            ("(no subcommand)", "All commands."),
            ("COUNT", "How many commands there are."),
            ("DOCS", "Nothing: docs/redis.md has them."),
            ("GETKEYS command ...", "The keys among the words of a command."),
            ("INFO [name ...]", "Some commands."),
            ("LIST", "The names of all commands."),
        ],
    ),
    (
        "config",
        &[
            ("GET pattern ...", "Settings, as Redis calls them."),
            ("RESETSTAT", "Is accepted, and does nothing."),
            ("SET name value ...", "Accepts what is so already. `lockstep config` changes settings."),
        ],
    ),
    ("function", &[("FLUSH", "Is accepted: there are none."), ("LIST", "Nothing: there are none.")]),
    ("memory", &[("USAGE key [SAMPLES count]", "About how many bytes a key takes.")]),
    (
        "object",
        &[
            ("ENCODING key", "How Redis would keep the value."),
            ("FREQ key", "How often it was used, under the policy lfu."),
            ("IDLETIME key", "Is refused: uses are kept in their order, without times."),
            ("REFCOUNT key", "1."),
        ],
    ),
    (
        "pubsub",
        &[
            ("CHANNELS [pattern]", "The channels that clients of this node are subscribed to."),
            ("NUMPAT", "How many patterns they are subscribed to."),
            ("NUMSUB [channel ...]", "How many of them are subscribed to each channel itself."),
        ],
    ),
    (
        "script",
        &[
            ("EXISTS name ...", "Which of these scripts this node knows."),
            ("FLUSH [ASYNC | SYNC]", "Forgets all scripts."),
            ("KILL", "Is refused: a script ends by itself."),
            ("LOAD script", "Keeps a script, and tells its name."),
        ],
    ),
    (
        "slowlog",
        &[
            ("GET [count]", "Nothing: /metrics has how long commands take."),
            ("LEN", "0."),
            ("RESET", "Is accepted, and does nothing."),
        ],
    ),
];

/// What such a command answers, if this is its `HELP`.
pub(super) fn help(command: &str, arguments: &[Bytes]) -> Option<Reply> {
    let [asked] = arguments else { return None };
    if !asked.eq_ignore_ascii_case(b"help") {
        return None;
    }
    let (name, subcommands) = ALL.iter().find(|(name, _)| *name == command)?;
    let title = format!("{} has these subcommands:", name.to_ascii_uppercase());
    let told = subcommands.iter().chain(&[("HELP", "This text.")]);
    let lines = told.flat_map(|(words, text)| [(*words).to_owned(), format!("    {text}")]);
    Some(Reply::Array([title].into_iter().chain(lines).map(Reply::Line).collect()))
}

#[cfg(test)]
mod tests {
    use super::super::commands::find;
    use super::*;

    #[test]
    fn each_has_a_help() {
        assert!(ALL.is_sorted());
        for (name, subcommands) in ALL {
            assert!(find(name.as_bytes()).is_some() && subcommands.is_sorted(), "{name}");
            let Some(Reply::Array(lines)) = help(name, &[Bytes::from_static(b"Help")]) else {
                panic!("{name} has none")
            };
            assert_eq!(lines.len(), 1 + 2 * (subcommands.len() + 1));
        }
        assert_eq!(help("get", &[Bytes::from_static(b"help")]), None);
        assert_eq!(help("client", &[Bytes::from_static(b"id")]), None);
    }
}
