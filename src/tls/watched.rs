//! What is made of the files, and made again when they change.

use super::certificate::expires_at;
use super::files::{CertFiles, Material};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// How often the files are looked at. Their bytes are compared: a volume that is swapped as a whole keeps their times.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Something that is made of files.
pub trait Reload: Send + Sync {
    /// Looks at the files again. Returns whether they have changed. This blocks.
    ///
    /// # Errors
    /// A sentence: they cannot be used. What was made before stays.
    fn reload(&self) -> Result<bool, String>;

    /// When the first certificate in the files in use expires, as seconds since 1970.
    fn expires_at(&self) -> i64;
}

/// What `make` makes of the files, as they are now.
pub(super) struct Watched<T> {
    files: CertFiles,
    make: fn(&Material) -> Result<T, String>,
    current: RwLock<Current<T>>,
}

struct Current<T> {
    made: Arc<T>,
    digest: [u8; 32],
    expires_at: i64,
}

impl<T> Watched<T> {
    /// # Errors
    /// A sentence: the files cannot be used.
    pub fn open(files: CertFiles, make: fn(&Material) -> Result<T, String>) -> Result<Self, String> {
        let material = files.read()?;
        Ok(Self { current: RwLock::new(Current::of(&material, make)?), files, make })
    }

    pub fn get(&self) -> Arc<T> {
        self.current.read().expect("no panic while held").made.clone()
    }

    /// See [`Reload::reload`].
    pub fn reload(&self) -> Result<bool, String> {
        let material = self.files.read()?;
        if self.current.read().expect("no panic while held").digest == material.digest {
            return Ok(false);
        }
        let renewed = Current::of(&material, self.make)?;
        *self.current.write().expect("no panic while held") = renewed;
        Ok(true)
    }

    /// See [`Reload::expires_at`].
    pub fn expires_at(&self) -> i64 {
        self.current.read().expect("no panic while held").expires_at
    }
}

impl<T> Current<T> {
    fn of(material: &Material, make: fn(&Material) -> Result<T, String>) -> Result<Self, String> {
        let own = expires_at(&material.chain);
        // Of several authorities one may be on its way out.
        let believed =
            material.authorities.iter().filter_map(|der| expires_at(std::slice::from_ref(der))).max();
        let expires_at = own.into_iter().chain(believed).min().unwrap_or(0);
        Ok(Self { made: Arc::new(make(material)?), digest: material.digest, expires_at })
    }
}
