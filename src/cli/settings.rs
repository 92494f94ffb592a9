//! Settings of `serve` that are in files: a TOML file, and `.env`.
//!
//! They become variables of this process where those are not set, before the arguments are parsed. So a flag comes before a
//! variable, a variable before `.env`, `.env` before the TOML file, and every setting has its name, its type and its default in
//! one place: where its flag is.

use super::exit::Usage;
use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use toml::Value;

/// Longest of these files, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What the file of variables is called, unless it is given.
const ENV_FILE: &str = ".env";
/// What a setting cannot be: these choose the files, or what to do with them.
const NOT_IN_FILES: [&str; 3] = ["config", "env_file", "check_config"];

/// The value of a variable, and the file that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FromFile {
    pub value: String,
    pub file: PathBuf,
}

/// The variables that the files set and the environment does not.
pub(super) type FromFiles = BTreeMap<String, FromFile>;

/// What the files say that these arguments name. `serve` is the command with its flags, and `others` are variables that it
/// knows besides.
///
/// # Errors
/// [`Usage`]: a file cannot be read, or says what makes no sense.
pub(super) fn from_files(
    arguments: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
    serve: &Command,
    others: &[&str],
) -> Result<FromFiles, Usage> {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let given = |flag: &str, name: &str| {
        let given = flag_value(arguments, flag).or_else(|| variable(name));
        given.filter(|file| !file.is_empty()).map(PathBuf::from)
    };
    let mut found = FromFiles::new();
    if let Some(file) = given("--config", "LOCKSTEP_CONFIG") {
        for (name, value) in in_toml(&file, serve)? {
            found.insert(name, FromFile { value, file: file.clone() });
        }
    }
    let env_file = given("--env-file", "LOCKSTEP_ENV_FILE");
    let env_file = env_file.or_else(|| Path::new(ENV_FILE).is_file().then(|| ENV_FILE.into()));
    if let Some(file) = env_file {
        for (name, value) in in_env_file(&file)? {
            if !value.is_empty() && (name.starts_with("LOCKSTEP_") || others.contains(&name.as_str())) {
                found.insert(name, FromFile { value, file: file.clone() });
            }
        }
    }
    found.retain(|name, _| !is_set(name));
    Ok(found)
}

/// The value of a flag, as `--flag value` or `--flag=value`.
fn flag_value(arguments: &[OsString], flag: &str) -> Option<OsString> {
    let with_value =
        |argument: &OsStr| Some(argument.to_str()?.strip_prefix(flag)?.strip_prefix('=')?.into());
    arguments.iter().enumerate().find_map(|(position, argument)| match argument == flag {
        true => arguments.get(position + 1).cloned(),
        false => with_value(argument),
    })
}

fn read(file: &Path) -> Result<String, Usage> {
    let named = |reason: &dyn std::fmt::Display| Usage(format!("{}: {reason}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| named(&error))?.len();
    match length <= FILE_BYTES_MAX {
        true => std::fs::read_to_string(file).map_err(|error| named(&error)),
        false => Err(named(&"it is too long for a file with settings")),
    }
}

fn in_env_file(file: &Path) -> Result<Vec<(String, String)>, Usage> {
    let text = read(file)?;
    let pairs = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    // Its errors show the line, which may have a secret.
    pairs.map_err(|_| Usage(format!("{}: expected lines NAME=value", file.display())))
}

fn in_toml(file: &Path, serve: &Command) -> Result<Vec<(String, String)>, Usage> {
    let named = |reason: String| Usage(format!("{}: {reason}", file.display()));
    let table: toml::Table =
        read(file)?.parse().map_err(|error: toml::de::Error| named(error.to_string()))?;
    let setting = |(key, value): (String, Value)| {
        let argument =
            find(serve, &key).ok_or_else(|| named(format!("`{key}` is no setting{}", like(serve, &key))))?;
        let variable = argument.get_env().and_then(OsStr::to_str);
        let variable = variable.ok_or_else(|| named(format!("`{key}` is no setting for a file")))?;
        let value = text(argument, value).map_err(|wanted| named(format!("`{key}`: expected {wanted}")))?;
        Ok((variable.to_owned(), value))
    };
    table.into_iter().map(setting).collect()
}

/// The argument that a key is for: its flag, with underscores.
fn find<'a>(serve: &'a Command, key: &str) -> Option<&'a Arg> {
    serve.get_arguments().find(|argument| key_of(argument).is_some_and(|known| known == key))
}

fn key_of(argument: &Arg) -> Option<String> {
    let key = argument.get_long()?.replace('-', "_");
    (!NOT_IN_FILES.contains(&key.as_str()) && argument.get_env().is_some()).then_some(key)
}

/// A hint, if a key with dashes would be one.
fn like(serve: &Command, key: &str) -> String {
    let known = find(serve, &key.replace('-', "_").to_lowercase()).and_then(key_of);
    known.map_or_else(String::new, |known| format!(": did you mean `{known}`?"))
}

/// What a variable would say.
fn text(argument: &Arg, value: Value) -> Result<String, &'static str> {
    let is_flag = !argument.get_action().takes_values();
    let is_list = argument.get_value_delimiter().is_some();
    match value {
        Value::Boolean(value) if is_flag => Ok(value.to_string()),
        _ if is_flag => Err("true or false"),
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Array(values) if is_list => {
            let one = |value| match value {
                Value::String(text) if !text.contains(',') => Ok(text),
                _ => Err("a list of texts without commas"),
            };
            Ok(values.into_iter().map(one).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        _ if is_list => Err("a text, or a list of texts"),
        _ => Err("a text or a number"),
    }
}

/// Each setting, what it is, and where that comes from. `Debug` of a value would quote it.
pub(super) fn origins(serve: &Command, matches: &ArgMatches, files: &FromFiles) -> Vec<String> {
    let line = |argument: &Arg| {
        let (key, id) = (key_of(argument)?, argument.get_id().as_str());
        let variable = argument.get_env().and_then(OsStr::to_str).unwrap_or_default();
        let origin = match matches.value_source(id)? {
            ValueSource::CommandLine => "the command line".to_owned(),
            ValueSource::EnvVariable => match files.get(variable) {
                Some(FromFile { file, .. }) => file.display().to_string(),
                None => variable.to_owned(),
            },
            _ => "the default".to_owned(),
        };
        let raw = matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned());
        Some(format!("{key} = {} ({origin})", raw.collect::<Vec<_>>().join(",")))
    };
    serve.get_arguments().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;
    use std::fs;

    fn serve() -> Command {
        let mut cli = Cli::command();
        cli.build();
        cli.find_subcommand("serve").expect("a command").clone()
    }

    /// A value that looks like one for this setting.
    fn sample(argument: &Arg, number: u64) -> String {
        if argument.get_action().takes_values() { number.to_string() } else { "true".into() }
    }

    /// Every setting, from every file, under what comes before it.
    #[test]
    fn each_setting_can_be_in_each_file() {
        let (serve, folder) = (serve(), tempfile::tempdir().expect("a folder"));
        let (config, env) = (folder.path().join("lockstep.toml"), folder.path().join("env"));
        let arguments: Vec<OsString> =
            ["serve", "--config", config.to_str().unwrap(), "--env-file", env.to_str().unwrap()]
                .map(OsString::from)
                .into();
        let mut seen = 0;
        for argument in serve.get_arguments().filter(|argument| key_of(argument).is_some()) {
            let key = key_of(argument).expect("it has one");
            let variable = argument.get_env().and_then(OsStr::to_str).expect("it has one").to_owned();
            let (first, second) = (sample(argument, 400), sample(argument, 500));
            let quoted = if first == "true" { first.clone() } else { format!("\"{first}\"") };
            fs::write(&config, format!("{key} = {quoted}\n")).expect("written");
            fs::write(&env, "").expect("written");
            let found = |set: Option<&str>| {
                let variable = |name: &str| set.filter(|set| *set == name).map(|_| OsString::from("other"));
                from_files(&arguments, variable, &serve, &[]).expect("good files")
            };
            assert_eq!(
                found(None)[&variable],
                FromFile { value: first.clone(), file: config.clone() },
                "{key}"
            );
            fs::write(&env, format!("{variable}={second}\n")).expect("written");
            assert_eq!(
                found(None)[&variable],
                FromFile { value: second.clone(), file: env.clone() },
                "{key}"
            );
            assert!(found(Some(&variable)).is_empty(), "{key}: the environment comes first");
            seen += 1;
        }
        assert!(seen > 35, "{seen} settings");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let (serve, folder) = (serve(), tempfile::tempdir().expect("a folder"));
        let config = folder.path().join("lockstep.toml");
        let arguments = [OsString::from(format!("--config={}", config.display()))];
        let nothing = |_: &str| None;
        for (text, wanted) in [
            ("htttp = \"x\"", "`htttp` is no setting"),
            ("data-dir = \"x\"", "did you mean `data_dir`?"),
            ("config = \"x\"", "`config` is no setting"),
            ("check_config = true", "`check_config` is no setting"),
            ("tokens = \"yes\"", "`tokens`: expected true or false"),
            ("http = true", "`http`: expected a text or a number"),
            ("http = [\"a\"]", "`http`: expected a text or a number"),
            ("allowed_hosts = [1]", "`allowed_hosts`: expected a list of texts"),
            ("allowed_hosts = 1.5", "`allowed_hosts`: expected a text, or a list"),
            ("[serve]\nhttp = \"x\"", "`serve` is no setting"),
            ("http = ", "expected"),
            ("http = \"a\"\nhttp = \"b\"", "duplicate key"),
        ] {
            fs::write(&config, text).expect("written");
            let Usage(refused) = from_files(&arguments, nothing, &serve, &[]).expect_err(text);
            assert!(refused.contains(wanted) && refused.contains("lockstep.toml"), "{text}: {refused}");
        }
        let missing = [OsString::from("--config"), OsString::from("nowhere.toml")];
        let Usage(refused) = from_files(&missing, nothing, &serve, &[]).expect_err("it is missing");
        assert!(refused.contains("nowhere.toml"), "{refused}");
        fs::write(&config, "allowed_hosts = [\"a.example\", \"b.example\"]\nconnections = 7")
            .expect("written");
        let found = from_files(&arguments, nothing, &serve, &[]).expect("a good file");
        assert_eq!(found["LOCKSTEP_ALLOWED_HOSTS"].value, "a.example,b.example");
        assert_eq!(found["LOCKSTEP_CONNECTIONS"].value, "7");
    }

    /// Files of variables belong to whole projects: what is not for this program is left alone, and empty means not set.
    #[test]
    fn a_file_of_variables_may_have_others() {
        let (serve, folder) = (serve(), tempfile::tempdir().expect("a folder"));
        let env = folder.path().join("env");
        let arguments = [OsString::from("--env-file"), env.clone().into()];
        fs::write(
            &env,
            "# ours\nPORT=\nDATABASE_URL=secret\nexport PEER_NODES=\"a:1,b:2\"\nLOCKSTEP_NAME='n 1'\n",
        )
        .expect("written");
        let found = from_files(&arguments, |_| None, &serve, &["PORT", "PEER_NODES"]).expect("a good file");
        let pairs: Vec<(&str, &str)> =
            found.iter().map(|(name, it)| (name.as_str(), it.value.as_str())).collect();
        assert_eq!(pairs, [("LOCKSTEP_NAME", "n 1"), ("PEER_NODES", "a:1,b:2")]);
        fs::write(&env, "password: hunter2\n").expect("written");
        let Usage(refused) = from_files(&arguments, |_| None, &serve, &[]).expect_err("it is none");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
