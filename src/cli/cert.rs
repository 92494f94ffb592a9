//! `lockstep cert`: certificates for nodes and clients, signed by an authority of one's own.

use super::exit::Usage;
use super::output::Output;
use crate::cache::is_token_id;
use crate::node::check_name;
use crate::tls::{
    Authority, Certificate, Issued, bound, client_host, node_host, read_owners, with_local_hosts,
};
use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const CA: &str = "ca";

#[derive(Debug, Args)]
pub struct CertArgs {
    #[command(subcommand)]
    pub command: CertCommand,
    /// Print one JSON object on the last line
    #[arg(long, global = true, env = "LOCKSTEP_JSON")]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make an authority: `ca.crt`, which everybody gets, and `ca.key`, which signs and should be kept elsewhere
    Ca {
        #[command(flatten)]
        place: Place,
        /// How long it is good, in days
        #[arg(long, default_value_t = 3_650, value_parser = days())]
        days: u64,
        /// What certificates call it [default: Lockstep authority and a random number]
        #[arg(long)]
        common_name: Option<String>,
    },
    /// Make a node's certificate: NAME.crt and NAME.key
    Node {
        /// The node's name
        name: String,
        /// Host names and addresses at which clients reach it, separated by commas; localhost, 127.0.0.1 and ::1 are always
        /// among them
        #[arg(long, value_name = "HOST", value_delimiter = ',')]
        host: Vec<String>,
        /// Another name of the same node, for the time in which it gets one
        #[arg(long, value_name = "NAME")]
        also: Vec<String>,
        #[command(flatten)]
        place: Place,
        /// How long it is good, in days
        #[arg(long, default_value_t = 365, value_parser = days())]
        days: u64,
    },
    /// Make a client's certificate, which has the rights of a token: TOKEN.crt and TOKEN.key
    Client {
        /// The id of the token (`lockstep token list`)
        token: String,
        #[command(flatten)]
        place: Place,
        /// How long it is good, in days
        #[arg(long, default_value_t = 365, value_parser = days())]
        days: u64,
    },
    /// Say whom certificates are for, and when they expire
    Show {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Make a certificate again for the same names, with a new key
    Renew {
        /// The certificate; its key is beside it
        file: PathBuf,
        #[command(flatten)]
        place: Place,
        /// How long it is good, in days
        #[arg(long, default_value_t = 365, value_parser = days())]
        days: u64,
    },
}

/// Where the authority is, and where certificates go.
#[derive(Debug, Args)]
pub struct Place {
    /// The folder with `ca.crt` and `ca.key`, and for what is made
    #[arg(long, default_value = "certs")]
    pub dir: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

fn days() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=36_500)
}

pub async fn cert(args: CertArgs) -> Result<()> {
    let output = Output { json: args.json };
    match args.command {
        CertCommand::Ca { place, days, common_name } => {
            make_authority(&place.dir, common_name, days, place.force)?;
            made(&place.dir, CA, output)
        }
        CertCommand::Node { name, host, also, place, days } => {
            let Place { dir, force } = place;
            let names: Vec<&str> = std::iter::once(&name).chain(&also).map(String::as_str).collect();
            Folder::read(&dir)?.sign_node(&names, &host, days, force)?;
            made(&dir, &name, output)
        }
        CertCommand::Client { token, place, days } => {
            let Place { dir, force } = place;
            if !is_token_id(&token) {
                return Err(
                    Usage(format!("{token}: this is no id of a token: see `lockstep token list`")).into()
                );
            }
            let hosts = vec![client_host(&token)];
            write(&Folder::read(&dir)?.sign(hosts, &token, days)?, &dir, &token, force)?;
            made(&dir, &token, output)
        }
        CertCommand::Show { files } => {
            let found: Vec<Shown> =
                files.iter().map(|file| shown(file)).collect::<Result<Vec<_>>>()?.concat();
            output.print(&json!({"certificates": found}), || lines(&found))
        }
        CertCommand::Renew { file, place, days } => {
            let [old] = &shown(&file)?[..] else { bail!("{}: expected one certificate", file.display()) };
            let name = file.file_stem().and_then(|stem| stem.to_str());
            let name = name.ok_or_else(|| Usage(format!("{}: expected NAME.crt", file.display())))?;
            let folder =
                file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if old.owner.is_authority {
                let reason =
                    "an authority is not renewed: make another one, and have both believed for a while";
                return Err(Usage(format!("{}: {reason}", file.display())).into());
            }
            let (nodes, clients) = (old.owner.nodes.iter(), old.owner.client.iter());
            let hosts = nodes.map(|name| node_host(name)).chain(clients.map(|id| client_host(id)));
            let hosts = hosts.chain(old.owner.hosts.iter().cloned()).collect();
            write(&Folder::read(&place.dir)?.sign(hosts, name, days)?, folder, name, true)?;
            made(folder, name, output)
        }
    }
}

/// A name that a certificate can have: a label of a DNS name, or several.
fn checked(name: &str) -> Result<&str> {
    check_name(name).map_err(Usage)?;
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    match name.split('.').all(is_label) {
        true => Ok(name),
        false => Err(Usage(format!("{name}: a certificate cannot have this name: it is no DNS name")).into()),
    }
}

fn made(dir: &Path, name: &str, output: Output) -> Result<()> {
    let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    let found = shown(&cert)?;
    output.print(&json!({"cert": cert, "key": key, "certificates": found}), || {
        format!("{}\n{}", lines(&found), key.display())
    })
}

/// One certificate, and the file that it is in.
#[derive(Debug, Clone, serde::Serialize)]
struct Shown {
    file: PathBuf,
    #[serde(flatten)]
    owner: Certificate,
}

fn shown(file: &Path) -> Result<Vec<Shown>> {
    let found = read_owners(file).map_err(anyhow::Error::msg)?;
    Ok(found.into_iter().map(|owner| Shown { file: file.to_owned(), owner }).collect())
}

fn lines(found: &[Shown]) -> String {
    let line = |Shown { file, owner }: &Shown| {
        let whom = owner.nodes.iter().map(|name| format!("node {name}"));
        let whom = whom.chain(owner.client.iter().map(|id| format!("client with token {id}")));
        let whom = whom.chain(owner.is_authority.then(|| "authority".to_owned()));
        let (whom, hosts) = (whom.collect::<Vec<_>>().join(", "), owner.hosts.join(" "));
        let until = DateTime::from_timestamp(owner.expires_at, 0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Secs, true);
        format!(
            "{}: {whom}{}{hosts}, until {until}",
            file.display(),
            if hosts.is_empty() { "" } else { ", " }
        )
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Makes an authority in a folder.
pub(super) fn make_authority(dir: &Path, common_name: Option<String>, days: u64, force: bool) -> Result<()> {
    // Whoever believes several of them looks for the one of this name.
    let number = uuid::Uuid::new_v4().as_fields().0;
    let common_name = common_name.unwrap_or_else(|| format!("Lockstep authority {number:08x}"));
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    bound(&mut params, days);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?.pem();
    write(&Issued { cert, key: key.serialize_pem() }, dir, CA, force)
}

/// Who signs, in the folder with `ca.crt` and `ca.key`.
pub(super) struct Folder<'a> {
    dir: &'a Path,
    authority: Authority,
}

impl<'a> Folder<'a> {
    /// # Errors
    /// There is no authority in it, or it cannot be used.
    pub fn read(dir: &'a Path) -> Result<Self> {
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !cert.exists() {
            bail!("{}: make an authority with `lockstep cert ca` first", cert.display());
        }
        Ok(Self { dir, authority: Authority::read(&cert, &key).map_err(anyhow::Error::msg)? })
    }

    /// A certificate for the node of these names, in the files of the first.
    pub fn sign_node(&self, names: &[&str], hosts: &[String], days: u64, force: bool) -> Result<()> {
        let all = names.iter().map(|name| checked(name).map(node_host)).collect::<Result<Vec<_>>>()?;
        let name = names.first().context("a node has a name")?;
        write(&self.sign(with_local_hosts(all, hosts), name, days)?, self.dir, name, force)
    }

    fn sign(&self, hosts: Vec<String>, common_name: &str, days: u64) -> Result<Issued> {
        let issued = self.authority.issue(hosts, common_name, days);
        Ok(issued.map_err(|error| Usage(format!("--host: {error}")))?)
    }
}

/// Writes NAME.key and NAME.crt, each at once: nobody reads half a file. A node that reads between the two finds that they do
/// not fit, and goes on with those before.
fn write(issued: &Issued, dir: &Path, name: &str, force: bool) -> Result<()> {
    let files = [("key", &issued.key, 0o600), ("crt", &issued.cert, 0o644)];
    let paths = files.map(|(kind, ..)| dir.join(format!("{name}.{kind}")));
    if let Some(there) = paths.iter().find(|path| !force && path.exists()) {
        return Err(Usage(format!("{} exists; --force replaces it", there.display())).into());
    }
    for ((_, text, mode), path) in files.into_iter().zip(&paths) {
        write_whole(path, text, mode)?;
    }
    Ok(())
}

/// Writes a file with these permissions; durable, and whole, when this returns.
pub(super) fn write_whole(path: &Path, text: &str, mode: u32) -> Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    let name = path.file_name().and_then(|name| name.to_str()).with_context(unwritable)?;
    let aside = path.with_file_name(format!(".{name}.new"));
    let _ = fs::remove_file(&aside);
    let file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&aside);
    let mut file = file.with_context(unwritable)?;
    file.write_all(text.as_bytes()).with_context(unwritable)?;
    // Whatever this process keeps from others by default: certificates are public.
    file.set_permissions(fs::Permissions::from_mode(mode)).with_context(unwritable)?;
    file.sync_all().with_context(unwritable)?;
    fs::rename(&aside, path).with_context(unwritable)
}
