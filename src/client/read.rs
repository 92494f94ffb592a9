//! The client's reads.

use super::error::{ClientError, garbled};
use super::http::{Client, Retry};
use super::kv::{PLAIN, body, entry_meta, kv_path};
use super::position::{Cursor, Position, Positioned, position, positioned};
use crate::api::{
    AbsentKey, Consistency, EntryMeta, EntryPage, GetMany, GotKey, GotMany, KeyPage, Problem, TTL_MS,
    ValueDetails,
};
use bytes::Bytes;
use percent_encoding::utf8_percent_encode;
use reqwest::{Method, RequestBuilder, StatusCode, header};

/// Most keys that a node is asked for at once.
const KEYS_MAX: usize = 10_000;

/// A value, as [`Client::get`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResponse {
    pub value: Bytes,
    pub content_type: Option<String>,
    pub meta: EntryMeta,
}

/// How to read a key.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub consistency: Consistency,
    /// Answer from a state that is no older than this.
    pub not_before: Option<Cursor>,
    /// Do not send the value again if the key has this revision.
    pub unless_revision: Option<u64>,
}

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    Found(GetResponse),
    /// It has the revision that the reader knows. `ttl_ms` is what is left of its TTL, if it has one.
    Unchanged {
        ttl_ms: Option<u64>,
    },
    Absent(AbsentKey),
}

impl Client {
    /// Reads a key; `None` when it is absent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, key: &str, consistency: Consistency) -> Result<Option<GetResponse>, ClientError> {
        let options = ReadOptions { consistency, ..ReadOptions::default() };
        match self.read(key, &options).await?.value {
            Reading::Found(found) => Ok(Some(found)),
            Reading::Unchanged { .. } | Reading::Absent(_) => Ok(None),
        }
    }

    /// Reads a key, and tells where in the log the answer is from.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read(&self, key: &str, options: &ReadOptions) -> Result<Positioned<Reading>, ClientError> {
        let mut path = format!("{}?consistency={}", kv_path(key)?, options.consistency.as_str());
        if let Some(cursor) = &options.not_before {
            path.push_str(&format!("&min_index={cursor}"));
        }
        let build = |request: RequestBuilder| match options.unless_revision {
            Some(revision) => request.header(header::IF_NONE_MATCH, format!("\"{revision}\"")),
            None => request,
        };
        let answers = [StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND];
        let answered = self.ask(Method::GET, &path, Retry::Always, &answers, build).await?;
        let at = position(&answered)?;
        let value = match answered.status {
            StatusCode::NOT_MODIFIED => Reading::Unchanged { ttl_ms: answered.number(TTL_MS) },
            StatusCode::NOT_FOUND => {
                let problem: Problem = answered.json()?;
                Reading::Absent(problem.absent.unwrap_or(AbsentKey { gone: None, complete: false }))
            }
            _ => {
                let meta = entry_meta(&answered)?;
                let (value, content_type) = body(answered);
                Reading::Found(GetResponse { value, content_type, meta })
            }
        };
        Ok(Positioned { value, at })
    }

    /// Reads many keys. The answers are in the order of the keys; all of one request are of one moment, and those that do not fit
    /// into it are asked for again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_many(
        &self,
        keys: &[String],
        consistency: Consistency,
    ) -> Result<Vec<Option<ValueDetails>>, ClientError> {
        let (results, _) = self.get_parts(keys, consistency).await?;
        Ok(results.into_iter().map(|got| got.entry).collect())
    }

    /// The same, with why a key is absent, and with the position of the first part: the others are no older.
    ///
    /// # Errors
    /// [`ClientError`]: also if there are no keys, because nothing is asked then.
    pub async fn read_many(
        &self,
        keys: &[String],
        consistency: Consistency,
    ) -> Result<Positioned<Vec<GotKey>>, ClientError> {
        match self.get_parts(keys, consistency).await? {
            (value, Some(at)) => Ok(Positioned { value, at }),
            (_, None) => Err(garbled("/v1/get", "no keys were asked for")),
        }
    }

    async fn get_parts(
        &self,
        keys: &[String],
        consistency: Consistency,
    ) -> Result<(Vec<GotKey>, Option<Position>), ClientError> {
        let path = format!("/v1/get?consistency={}", consistency.as_str());
        let mut found = Vec::with_capacity(keys.len());
        let mut first = None;
        while found.len() < keys.len() {
            let rest = &keys[found.len()..];
            let request = GetMany { keys: rest[..rest.len().min(KEYS_MAX)].to_vec() };
            let build = |builder: RequestBuilder| builder.json(&request);
            let answered = self.ask(Method::POST, &path, Retry::Always, &[], build).await?;
            let Positioned { value: answer, at } = positioned::<GotMany>(&answered)?;
            if answer.results.is_empty() || answer.results.len() > request.keys.len() {
                return Err(garbled(&path, "it has another number of results than of keys"));
            }
            found.extend(answer.results);
            first.get_or_insert(at);
        }
        Ok((found, first))
    }

    /// Lists keys with their values, in byte order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn entries(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Positioned<EntryPage>, ClientError> {
        let path = format!("{}&values=true", list_path(prefix, after, limit, consistency));
        positioned(&self.ask(Method::GET, &path, Retry::Always, &[], |builder| builder).await?)
    }

    /// Lists keys in byte order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<KeyPage, ClientError> {
        let path = list_path(prefix, after, limit, consistency);
        self.json(Method::GET, &path, Retry::Always, |builder| builder).await
    }
}

fn list_path(prefix: &str, after: Option<&str>, limit: usize, consistency: Consistency) -> String {
    let (prefix, consistency) = (utf8_percent_encode(prefix, PLAIN), consistency.as_str());
    let path = format!("/v1/keys?limit={limit}&consistency={consistency}&prefix={prefix}");
    match after {
        Some(after) => format!("{path}&after={}", utf8_percent_encode(after, PLAIN)),
        None => path,
    }
}
