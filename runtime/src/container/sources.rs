//! The paths of the host that a container's mounts and devices come from: looked at, and made where that was asked for.
//!
//! Runs in the CLI, as the user, before anything of the container exists and again before each start.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::options::{Device, Mount, RunOptions};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;

/// Devices below one `--device` directory.
const MOST_DEVICES: usize = 256;

/// Makes the missing directories of `-v`; refuses what is missing otherwise.
pub fn prepare(options: &RunOptions) -> Result<()> {
    for mount in &options.mounts {
        if let Mount::Bind { source, create, .. } = mount {
            prepare_bind(Path::new(source), *create)?;
        }
    }
    Ok(())
}

fn prepare_bind(source: &Path, create: bool) -> Result<()> {
    match std::fs::metadata(source) {
        Ok(_) => Ok(()),
        // A link that leads nowhere is no place for a directory.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create && source.symlink_metadata().is_err() => {
            std::fs::create_dir_all(source)
                .context(|| format!("error while creating mount source path '{}'", source.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("bind source path does not exist: {}", source.display());
            Err(Error::new(ErrorKind::NotFound, message)
                .context("invalid mount config for type \"bind\"")
                .hint("-v makes missing directories, and so does the option bind-create-src of --mount"))
        }
        Err(error) => Err(Error::from(error).context(format!("bind source path {}", source.display()))),
    }
}

/// The options with every directory among the devices replaced by the device nodes below it, as docker does. What is no
/// device is refused.
pub fn with_devices(options: &RunOptions) -> Result<RunOptions> {
    let mut devices = Vec::new();
    for device in &options.devices {
        let what = || format!("error gathering device information while adding custom device \"{}\"", device.source);
        gather(device, &mut devices).context(what)?;
    }
    Ok(RunOptions { devices, ..options.clone() })
}

fn gather(device: &Device, found: &mut Vec<Device>) -> Result<()> {
    let kind = std::fs::metadata(&device.source)?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        found.push(device.clone());
        return Ok(());
    }
    if !kind.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, "not a device node"));
    }
    let before = found.len();
    let mut directories = vec![PathBuf::from(&device.source)];
    while let Some(directory) = directories.pop() {
        for name in file::list_dir(&directory)? {
            let path = directory.join(name);
            let kind = path.symlink_metadata()?.file_type();
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                found.push(below(device, &path)?);
            }
        }
        if found.len() - before > MOST_DEVICES {
            return Err(Error::new(ErrorKind::Unsupported, format!("there are more than {MOST_DEVICES} below it")));
        }
    }
    match found.len() == before {
        true => Err(Error::new(ErrorKind::Invalid, "no device nodes in it")),
        false => Ok(()),
    }
}

/// The device at `path`, which is below the directory that `device` names.
fn below(device: &Device, path: &Path) -> Result<Device> {
    let rest = path.strip_prefix(&device.source).ok().and_then(Path::to_str);
    let (Some(source), Some(rest)) = (path.to_str(), rest) else {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is not UTF-8", path.display())));
    };
    Ok(Device { source: source.to_owned(), target: format!("{}/{rest}", device.target) })
}
