//! Client sessions and locks as bytes, in results of commands.

use crate::cache::codec::{DecodeError, Decoder, put_bytes, put_u64};
use crate::cache::limits::KEY_BYTES_MAX;
use crate::cache::{ClientSession, Key, Lock};
use std::io::{BufRead, Result, Write};

pub(super) fn put_session(out: &mut impl Write, session: &ClientSession) -> Result<()> {
    let ClientSession { id, name, ttl_ms, created_at_ms, expires_at_ms } = session;
    put_bytes(out, name.as_str().as_bytes())?;
    [id, ttl_ms, created_at_ms, expires_at_ms].into_iter().try_for_each(|number| put_u64(out, *number))
}

pub(super) fn session(source: &mut Decoder<impl BufRead>) -> std::result::Result<ClientSession, DecodeError> {
    let name = name(source)?;
    let (id, ttl_ms) = (source.u64()?, source.u64()?);
    Ok(ClientSession { id, name, ttl_ms, created_at_ms: source.u64()?, expires_at_ms: source.u64()? })
}

pub(super) fn put_lock(out: &mut impl Write, lock: &Lock) -> Result<()> {
    let Lock { name, session, token, since_ms } = lock;
    put_bytes(out, name.as_str().as_bytes())?;
    [session, token, since_ms].into_iter().try_for_each(|number| put_u64(out, *number))
}

pub(super) fn lock(source: &mut Decoder<impl BufRead>) -> std::result::Result<Lock, DecodeError> {
    let name = name(source)?;
    Ok(Lock { name, session: source.u64()?, token: source.u64()?, since_ms: source.u64()? })
}

pub(super) fn name(source: &mut Decoder<impl BufRead>) -> std::result::Result<Key, DecodeError> {
    Key::stored(&source.text(KEY_BYTES_MAX)?).map_err(|_| DecodeError::Damaged("a name is none"))
}
