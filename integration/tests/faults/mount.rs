//! A file system in a file, so that it can be small, full, or cut off without a word.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidegate_integration::place;

/// A mounted ext4 image; unmounted when dropped.
pub struct Mount {
    image: PathBuf,
    at: PathBuf,
    _directory: TempDir,
}

impl Mount {
    /// Makes and mounts one, or says why that is not possible here.
    pub fn new(mib: u64) -> Result<Self, String> {
        if !place::is_root() {
            return Err("needs root to mount".into());
        }
        if !place::has("mkfs.ext4") {
            return Err("needs mkfs.ext4".into());
        }
        let directory = tempfile::tempdir().unwrap();
        let mount =
            Self { image: directory.path().join("image"), at: directory.path().join("mounted"), _directory: directory };
        std::fs::create_dir(&mount.at).unwrap();
        File::create(&mount.image).unwrap().set_len(mib << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&mount.image))?;
        mount.mount()?;
        Ok(mount)
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    pub fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at))
    }

    /// Detaches at once even if a process that is being killed still holds files.
    pub fn unmount(&self) -> Result<(), String> {
        for _ in 0..100 {
            if run(Command::new("umount").arg(&self.at)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        run(Command::new("umount").arg(&self.at))
    }

    /// Cuts the power: nothing that was not synced reaches the image any more (`EXT4_IOC_SHUTDOWN`, no log flush).
    pub fn cut_power(&self) -> Result<(), String> {
        let shutdown = "import fcntl,os,struct,sys; \
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        run(Command::new("python3").args(["-c", shutdown]).arg(&self.at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
