//! What an installation keeps for life: its cluster id and the key its acknowledgement ids are signed with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The file's name within the data directory.
const FILE: &str = "gateway.json";

/// Made on the first start, the same ever after.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// What Kafka clients are told, in the form of Kafka's own: 22 characters of URL-safe base64.
    pub cluster_id: String,
    /// Signs acknowledgement ids, so that any process on this data can check them.
    pub ack_key: [u8; 32],
}

/// As stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    cluster_id: String,
    ack_key: String,
    /// Of the other two, so that a changed byte is no other identity. Files of the first versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

impl Stored {
    fn digest(&self) -> String {
        let text = format!("{}\n{}", self.cluster_id, self.ack_key);
        blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
    }
}

impl Identity {
    /// Reads the identity of a data directory that this process has locked, or makes one.
    ///
    /// # Errors
    /// What the file system said; `InvalidData` when the file is not one of ours.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        match fs::read(&path) {
            Ok(stored) => Self::parse(&stored).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate()?;
                identity.store(data_dir, &path)?;
                Ok(identity)
            }
            Err(error) => Err(error),
        }
    }

    fn generate() -> io::Result<Self> {
        let mut ack_key = [0; 32];
        getrandom::fill(&mut ack_key).map_err(io::Error::other)?;
        Ok(Self { cluster_id: BASE64_URL_SAFE_NO_PAD.encode(Uuid::new_v4()), ack_key })
    }

    fn parse(stored: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
        if stored.version != 1 {
            return Err(format!("it has version {}, and this program reads version 1", stored.version));
        }
        if stored.checksum.as_ref().is_some_and(|found| *found != stored.digest()) {
            return Err("its checksum does not match: restore it from a backup".to_owned());
        }
        let key = BASE64_URL_SAFE_NO_PAD.decode(stored.ack_key).ok();
        let ack_key = key.and_then(|key| key.try_into().ok()).ok_or("ack_key is not 32 bytes in base64")?;
        Ok(Self { cluster_id: stored.cluster_id, ack_key })
    }

    /// After a crash the file is there whole or not at all. Nobody else may read it: it holds a key.
    fn store(&self, data_dir: &Path, path: &Path) -> io::Result<()> {
        let ack_key = BASE64_URL_SAFE_NO_PAD.encode(self.ack_key);
        let mut stored = Stored { version: 1, cluster_id: self.cluster_id.clone(), ack_key, checksum: None };
        stored.checksum = Some(stored.digest());
        let unfinished = data_dir.join(format!("{FILE}.tmp"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(&stored)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(data_dir)?.sync_all()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = Identity::open(directory.path()).unwrap();
        assert!(first == Identity::open(directory.path()).unwrap());
        assert_eq!(first.cluster_id.len(), 22);
        assert!(first.ack_key != [0; 32]);
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_changed_byte_is_noticed_and_a_file_without_a_checksum_opens() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::open(directory.path()).unwrap();
        let path = directory.path().join(FILE);
        let mut stored: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        stored["cluster_id"] = "another".into();
        fs::write(&path, stored.to_string()).unwrap();
        let error = Identity::open(directory.path()).err().unwrap();
        assert!(error.to_string().contains("checksum"), "{error}");
        stored["cluster_id"] = identity.cluster_id.clone().into();
        stored.as_object_mut().unwrap().remove("checksum").unwrap();
        fs::write(&path, stored.to_string()).unwrap();
        assert!(Identity::open(directory.path()).unwrap() == identity);
    }

    #[test]
    fn what_is_not_ours_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        for contents in [
            "",
            "{}",
            r#"{"version":2,"cluster_id":"x","ack_key":""}"#,
            r#"{"version":1,"cluster_id":"x","ack_key":"AA"}"#,
        ] {
            fs::write(directory.path().join(FILE), contents).unwrap();
            assert_eq!(Identity::open(directory.path()).err().unwrap().kind(), io::ErrorKind::InvalidData);
            assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap(), contents);
        }
    }
}
