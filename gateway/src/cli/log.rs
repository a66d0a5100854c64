//! `tidegate log`: looks at a data directory that no gateway has open, and gives damage up when told to.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use tidegate_engine::store::LocalStore;
use tidegate_engine::{Damage, Inspection, SegmentInspection, inspect, skip};

use super::arguments::Output;
use super::{Error, output};

/// Look at a data directory, give damage up.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Read and check everything in a data directory; exit code 1 when something is damaged
    Inspect {
        /// The directory.
        #[command(flatten)]
        place: Place,
        /// How the result is shown
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Give up what is damaged at a position, so that everything else is served: what is there is lost
    Skip {
        /// The directory.
        #[command(flatten)]
        place: Place,
        /// The file, as inspect names it
        file: String,
        /// The position, as inspect names it
        position: u64,
    },
}

/// Where the data is.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of the log and all state
    #[arg(long, value_name = "DIR", default_value = "tidegate-data")]
    data_dir: PathBuf,
}

pub fn log(command: Log) -> Result<(), Error> {
    match command {
        Log::Inspect { place, output } => show(&inspect(&open(&place.data_dir)?)?, output),
        Log::Skip { place, file, position } => {
            let given_up = skip(&open(&place.data_dir)?, &file, position)?;
            let Damage { position, length, reason, .. } = given_up;
            output::print(&format!("given up: {length} bytes of {file} from {position} ({reason})\n"))
        }
    }
}

/// The directory as it is: looking at one must not make one.
fn open(data_dir: &Path) -> Result<LocalStore, Error> {
    if !data_dir.is_dir() {
        return Err(Error::failed(format!("{} is not a directory: name it with --data-dir", data_dir.display())));
    }
    Ok(LocalStore::open(data_dir)?)
}

impl From<tidegate_engine::Error> for Error {
    fn from(error: tidegate_engine::Error) -> Self {
        match error {
            tidegate_engine::Error::Locked => Self::unavailable(format!("{error}: stop the gateway first")),
            other => Self::failed(other.to_string()),
        }
    }
}

fn show(inspection: &Inspection, output: Output) -> Result<(), Error> {
    match output {
        Output::Json => output::print(&format!("{}\n", in_json(inspection)))?,
        Output::Table => output::print(&in_table(inspection))?,
    }
    let damaged: usize = inspection.segments.iter().map(|segment| lasting(segment).count()).sum();
    if damaged == 0 {
        return Ok(());
    }
    let noun = if damaged == 1 { "place is" } else { "places are" };
    Err(Error::failed(format!("{damaged} {noun} damaged: restore a backup, or give them up with: tidegate log skip")))
}

/// Damage that opening does not mend: an unfinished last write of the newest segment was never acknowledged.
fn lasting(segment: &SegmentInspection) -> impl Iterator<Item = &Damage> {
    segment.damage.iter().filter(|damage| segment.sealed || !damage.at_end)
}

fn in_table(inspection: &Inspection) -> String {
    let segments = inspection.segments.iter().map(|segment| {
        let sealed = if segment.sealed { "yes" } else { "no" };
        vec![
            segment.file.clone(),
            sealed.into(),
            segment.blocks.to_string(),
            segment.batches.to_string(),
            segment.bytes.to_string(),
            lasting(segment).count().to_string(),
        ]
    });
    let titles = ["FILE", "SEALED", "BLOCKS", "BATCHES", "BYTES", "DAMAGED"];
    let mut text = output::table(&titles, &segments.collect::<Vec<_>>());
    let damage: Vec<_> = inspection.segments.iter().flat_map(damage_rows).collect();
    if !damage.is_empty() {
        text.push('\n');
        text.push_str(&output::table(&["FILE", "POSITION", "LENGTH", "LOST", "REASON"], &damage));
    }
    text.push_str(&format!("\nnewest snapshot: {}\n", inspection.snapshot.as_deref().unwrap_or("none")));
    text
}

fn damage_rows(segment: &SegmentInspection) -> Vec<Vec<String>> {
    let row = |damage: &Damage| {
        let unfinished = damage.at_end && !segment.sealed;
        vec![
            segment.file.clone(),
            damage.position.to_string(),
            damage.length.to_string(),
            if unfinished { "no, an unfinished write" } else { "yes" }.into(),
            damage.reason.clone(),
        ]
    };
    segment.damage.iter().map(row).collect()
}

fn in_json(inspection: &Inspection) -> serde_json::Value {
    let segments = inspection.segments.iter().map(|segment| {
        let damage = segment.damage.iter().map(|damage| {
            json!({
                "position": damage.position,
                "length": damage.length,
                "reason": damage.reason,
                "unfinished_write": damage.at_end && !segment.sealed,
            })
        });
        json!({
            "file": segment.file,
            "sealed": segment.sealed,
            "blocks": segment.blocks,
            "batches": segment.batches,
            "bytes": segment.bytes,
            "damage": damage.collect::<Vec<_>>(),
        })
    });
    json!({ "snapshot": inspection.snapshot, "segments": segments.collect::<Vec<_>>() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_not_made() {
        let home = tempfile::tempdir().unwrap();
        let missing = home.path().join("typo");
        assert!(open(&missing).err().unwrap().message.contains("--data-dir"));
        assert!(!missing.exists());
    }

    #[test]
    fn an_unfinished_last_write_is_no_damage() {
        let damage = |at_end| Damage { position: 64, length: 10, reason: "its checksum is wrong".into(), at_end };
        let segment = |sealed, damage| SegmentInspection {
            file: "log-0.seg".into(),
            sealed,
            blocks: 1,
            batches: 1,
            bytes: 54,
            damage: vec![damage],
        };
        let of = |sealed, at_end| lasting(&segment(sealed, damage(at_end))).count();
        assert_eq!([of(false, true), of(false, false), of(true, true)], [0, 1, 1]);
        let inspection = Inspection { snapshot: None, segments: vec![segment(false, damage(false))] };
        let told = show(&inspection, Output::Json).unwrap_err().message;
        assert!(told.contains("tidegate log skip"), "{told}");
    }
}
