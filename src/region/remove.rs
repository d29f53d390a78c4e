//! Taking a name away that nobody else takes away: its processes were killed, or it was made to stay.

use std::io;

use thiserror::Error;

use super::Region;
use super::attach::read_header;
use super::error::{AttachError, NameError};
use super::names::Place;
use crate::os::{FileId, byte_lock};

/// Why a name was not taken away.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Participants live.
    #[error("{name:?} is in use: {alive} of its participants live")]
    InUse {
        /// The name.
        name: String,
        /// How many live.
        alive: u32,
    },
    /// It cannot be told whether its participants live.
    #[error("whether anybody uses {name:?} cannot be told: {source}")]
    Unproven {
        /// The name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// What has the name is no region that this version can attach to.
    #[error("{name:?} is no region that could be looked at: {problem}")]
    NoRegion {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: AttachError,
    },
    /// The name itself.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Region {
    /// Takes a region's name away if the kernel proves that none of its participants lives, whoever was to do it
    /// ([`DeleteBy`](super::DeleteBy)); its memory is free then. Attaches to nothing.
    ///
    /// That is seldom needed: the last process to leave does it, and a name whose processes were all killed is given
    /// anew to whoever creates a region of that name. `allmende rm` and `allmende gc` are for the others.
    ///
    /// ```
    /// use allmende::{Region, region::{DeleteBy, RemoveError}};
    /// # let name = format!("doc-remove-{}", std::process::id());
    /// # let name = name.as_str();
    /// let region = Region::create().delete_by(DeleteBy::Nobody).named(name)?;
    /// assert!(matches!(Region::remove(name), Err(RemoveError::InUse { alive: 1, .. })));
    /// drop(region);
    /// Region::remove(name)?;
    /// assert!(Region::open().named(name).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub fn remove(name: &str) -> Result<(), RemoveError> {
        let place = Place::named(name)?;
        // Under the lock nobody opens it by its name, and nobody gives the name anew. Who attaches by a descriptor meanwhile
        // finds it gone, as after the last one has left.
        let directory = place.lock(false)?;
        let file = directory.open(false)?;
        let header = read_header(&file, None, 0o777)
            .map_err(|problem| RemoveError::NoRegion { name: name.to_owned(), problem })?;
        let mut alive = 0;
        for slot in 0..header.participants {
            let locked = byte_lock::is_locked(&file, slot);
            alive +=
                u32::from(locked.map_err(|source| RemoveError::Unproven { name: name.to_owned(), source })?);
        }
        if alive > 0 {
            return Err(RemoveError::InUse { name: name.to_owned(), alive });
        }
        let id =
            FileId::of(&file).map_err(|source| RemoveError::Unproven { name: name.to_owned(), source })?;
        Ok(directory.remove_now(Some(id))?)
    }

    /// The same, whoever uses it, and whatever it is. Processes that are attached go on, and see each other; whoever asks
    /// for the name afterwards does not find them, and may give it to another region.
    ///
    /// # Errors
    /// [`RemoveError::Name`].
    pub fn remove_by_force(name: &str) -> Result<(), RemoveError> {
        Ok(Place::named(name)?.lock(false)?.remove_now(None)?)
    }
}
